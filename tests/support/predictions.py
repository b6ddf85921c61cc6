"""Predictions of small hand-made networks for labelled images, and what is collected from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from support.gloo import joined
from support.images import draw_scene, save_image
from support.nets import predictor_of
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.samples import OnBadSample, Sample
from byoc_vision.evaluation.epoch_record import Metrics
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.evaluation.predictions import Collector, SplitPredictions
from byoc_vision.launch.distributed import World
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec, Task

COLOURS = ("<b>red</b>", "green, blue", "violett & grün")
MASK_VALUES = (0, 100)


def card_of(task: Task, names: Iterable[str], rule: Preprocess | None = None, several: bool = False) -> ModelConfig:
    """several: an image may have any number of the classes."""
    names = tuple(names)
    values = MASK_VALUES if task == "segmentation" else (None,) * len(names)
    return ModelConfig(
        model=ModelSpec(task=task, architecture="test", outputs=1 if task == "segmentation" else len(names)),
        classes=tuple(ClassInfo(name=name, value=value) for name, value in zip(names, values, strict=True)),
        activation="sigmoid" if several or task == "segmentation" else "softmax",
        preprocess=rule or Preprocess(height=32, width=48, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )


def reddish() -> nn.Module:
    """A pixel is the object where it is red: right for four of `draw`'s seven colours."""
    net = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        net.weight[:] = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        net.bias[:] = -1.0
    return net


def mean_colour() -> nn.Module:
    """The mean of each colour is the logit of its class."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def save(path: Path, pixels: np.ndarray) -> None:
    """Unless it is there: another process may be reading it."""
    if not path.exists():
        save_image(path, pixels)


def masked_images(folder: Path, count: int = 14) -> list[Sample]:
    """Ellipses of different sizes, their masks, and one image without any."""
    samples = []
    for index in range(count):
        pixels, inside = draw_scene(index, 48 + index, 32)
        image, mask = folder / "images" / f"{index}.png", folder / "masks" / f"{index}.png"
        save(image, pixels)
        save(mask, np.where(inside & (index > 0), *reversed(MASK_VALUES)).astype(np.uint8))
        samples.append(Sample(image, mask=mask))
    return samples


def coloured_images(folder: Path, count: int = 12, several: bool = False) -> list[Sample]:
    """Grey with some more of a colour; every fifth is labelled wrongly, and with `several` every second twice."""
    samples = []
    for index in range(count):
        colour, image = index % 3, folder / f"{index}.png"
        pixels = np.full((40, 40, 3), 110, np.uint8)
        pixels[..., colour] += 4 * index
        save(image, pixels)
        label = (colour + (index % 5 == 4)) % 3
        if several:
            labels = {label, 0} if index % 2 else {label}
            samples.append(Sample(image, labels=tuple(sorted(labels))))
        else:
            samples.append(Sample(image, label=label))
    return samples


def collect(
    config: ModelConfig,
    net: nn.Module,
    samples: list[Sample],
    root: Path,
    world: World | None = None,
    *,
    on_bad_sample: OnBadSample = "fail",
    seed: int = 0,
    shown: int = 3,
) -> tuple[Metrics, SplitPredictions | None]:
    """The metrics, and what the collector gathered. shown: in each gallery."""
    world = world or World()
    classes = config.classes
    evaluator = Evaluator(predictor_of(net, config), classes, 4, workers=0, world=world, on_bad_sample=on_bad_sample)
    collector = Collector(config, samples, "validation", seed, root=root, shown=shown)
    figures = evaluator.evaluate(evaluator.batches(samples), collector=collector)
    return figures, collector.gather(figures, world, epoch=3)


def collect_all(folder: Path, world: World | None = None) -> list[SplitPredictions | None]:
    """Masks, classes, and several classes an image."""
    masks, colours, several = (folder / name for name in ("masks", "colours", "several"))
    return [
        collect(card_of("segmentation", ("no", "yes")), reddish(), masked_images(masks), masks, world)[1],
        collect(card_of("classification", COLOURS), mean_colour(), coloured_images(colours), colours, world)[1],
        collect(
            card_of("classification", COLOURS, several=True),
            mean_colour(),
            coloured_images(several, several=True),
            several,
            world,
        )[1],
    ]


def as_text(collected: Iterable[SplitPredictions | None]) -> str:
    """All of it, as text that can be compared."""
    return json.dumps(
        [
            [
                each.evaluation.model_dump(mode="json"),
                list(each.lines()),
                {name: hashlib.sha256(content).hexdigest() for name, content in sorted(each.images.items())},
            ]
            for each in collected
            if each is not None
        ]
    )


def collect_together(rank: int, store: str, folder: Path) -> str:
    """What `collect_all` gives in one of two processes that talk to each other."""
    with joined(rank, store) as world:
        return as_text(collect_all(folder, world))


def print_together(rank: int, store: str, folder: Path) -> None:
    print(collect_together(rank, store, folder))
