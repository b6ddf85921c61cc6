"""Measures images per second in training: our whole epoch, our step alone, and plain PyTorch with the same model.

    .venv/bin/python benchmarks/train_throughput.py [--recipes unet resnet18] [--output benchmarks/results/NAME.json]

ours       a job's epoch, from files to optimiser steps, from the second epoch on (the cache is filled)
synthetic  our step alone, on one batch that is on the device: the upper limit of `ours`
plain      an eager float32 loop as in milesial/Pytorch-UNet and torchvision's reference scripts, with PIL
plain step its step alone, on one batch that is on the device

They take turns, so that other work on the machine affects all of them equally; each value is the median of its turns.
`ours / synthetic` shows the cost of the images, `synthetic / plain step` the gain of our step. Images are drawn:
JPEG of 1918 × 1280 with masks for segmentation, of 500 × 375 for classification.

--pytorch-unet DIR  a checkout of milesial/Pytorch-UNet: `plain` trains its U-Net with its data set class
--timm              for classifiers: timm's loader, model and optimiser, in the loop of train.py --amp --channels-last
--timm DIR          a checkout of huggingface/pytorch-image-models: that script itself
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import CARVANA, PET, draw, write
from ours import Ours
from peers import Timm, pytorch_unet, timm_script
from plain import Plain, PlainImages

from byoc_vision.data.samples import Dataset
from byoc_vision.models.build import build_model
from byoc_vision.types import ModelSpec, Task

Turn = Callable[[], float]
INSTALLED = "installed"


@dataclass(frozen=True)
class Recipe:
    """cpu, gpu: the images' size, the batch size and the batches per epoch."""

    task: Task
    model: str
    encoder: str | None
    cpu: tuple[int, int, int]
    gpu: tuple[int, int, int]


RECIPES = {
    "unet": Recipe("segmentation", "unet", None, (512, 1, 4), (512, 16, 24)),
    "unet_mobilenet_v2": Recipe("segmentation", "unet", "mobilenet_v2", (512, 4, 8), (512, 32, 24)),
    "resnet18": Recipe("classification", "resnet18", None, (224, 16, 8), (224, 256, 24)),
    "resnet50": Recipe("classification", "resnet50", None, (224, 8, 6), (224, 128, 24)),
}


def plain(recipe: Recipe, dataset: Dataset, size: int, batch: int, workers: int, peer: Path | None) -> Plain:
    if peer and recipe.task == "segmentation" and recipe.encoder is None:
        return pytorch_unet(peer, dataset, size, batch, workers)
    outputs = 1 if recipe.task == "segmentation" else len(dataset.classes)
    spec = ModelSpec(task=recipe.task, architecture=recipe.model, encoder=recipe.encoder, outputs=outputs)
    return Plain(build_model(spec), PlainImages(dataset, size), recipe.task, batch, workers)


def timm(checkout: str, dataset: Dataset, folder: Path, model: str, size: int, batch: int, workers: int) -> Turn:
    if checkout == INSTALLED:
        return Timm(dataset, folder, model, size, batch, workers).epoch
    return lambda: timm_script(Path(checkout), dataset, folder, model, size, batch, workers)


def measure(recipe: Recipe, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    size, batch, batches = recipe.gpu if torch.cuda.is_available() else recipe.cpu
    size, batch, batches = options.size or size, options.batch_size or batch, options.batches or batches
    dataset = draw(folder, recipe.task, batch * batches, CARVANA if recipe.task == "segmentation" else PET)
    own = Ours(dataset, folder / "job", recipe.model, recipe.encoder, size, batch, options.workers, options.turns + 1)
    with own:
        workers = own.workers
        usual = plain(recipe, dataset, size, batch, workers, options.pytorch_unet)
        turns: dict[str, Turn] = {
            "ours": own.epoch,
            "synthetic": own.steps,
            "plain": usual.epoch,
            "plain step": usual.steps,
        }
        if options.compile:
            turns["compiled"] = own.compiled
        if options.timm and recipe.task == "classification":
            turns["timm"] = timm(options.timm, dataset, folder, recipe.model, size, batch, workers)
        rates: dict[str, list[float]] = {name: [] for name in turns}
        for turn in range(options.turns + 1):
            for name, take in turns.items():
                seen = take()
                if turn:  # the first turn fills the cache and warms up
                    rates[name].append(seen)
        data_wait = own.data_wait
    figures = {name: statistics.median(seen) for name, seen in rates.items()}
    ratios = {
        "ours / synthetic": figures["ours"] / figures["synthetic"],
        "synthetic / plain step": figures["synthetic"] / figures["plain step"],
        "ours / plain": figures["ours"] / figures["plain"],
    }
    if "compiled" in figures:
        ratios["compiled / synthetic"] = figures["compiled"] / figures["synthetic"]
    if "timm" in figures:
        ratios["ours / timm"] = figures["ours"] / figures["timm"]
    return {
        "size": size,
        "batch_size": batch,
        "batches": batches,
        "workers": workers,
        "precision": own.precision,
        "data_wait": round(data_wait, 3),
        "seconds_to_compile": round(own.seconds_to_compile, 1),
        "images_per_second": {name: significant(value) for name, value in figures.items()},
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
    }


def significant(value: float) -> float:
    """Round to three digits: rates go from less than one image per second to thousands."""
    return float(f"{value:.3g}")


def line(name: str, result: dict[str, Any]) -> str:
    columns = [f"{what} {value}" for what, value in (result["images_per_second"] | result["ratios"]).items()]
    return f"{name} ({result['size']}, batch {result['batch_size']}, {result['precision']}): {' · '.join(columns)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--size", type=int, help="both sides of the model's input")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--batches", type=int, help="batches per epoch")
    parser.add_argument("--workers", type=int, help="default: as in a job")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try its convolutions for each shape")
    parser.add_argument("--compile", action="store_true", help="measure our step compiled by torch.compile too")
    parser.add_argument("--pytorch-unet", type=Path, metavar="DIR")
    parser.add_argument("--timm", nargs="?", const=INSTALLED, metavar="DIR")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = options.cudnn_benchmark
    results = {}
    for name in options.recipes:
        folder = Path(tempfile.mkdtemp(prefix="train-throughput-"))
        try:
            results[name] = measure(RECIPES[name], options, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(line(name, results[name]), flush=True)
        write(options.output, {"recipes": results})


if __name__ == "__main__":
    main()
