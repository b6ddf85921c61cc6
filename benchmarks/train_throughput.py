"""Images a second in training: our whole epoch, our step alone, and plain PyTorch, with the same model and pictures.

    .venv/bin/python benchmarks/train_throughput.py [--recipes unet resnet18] [--output benchmarks/results/NAME.json]

ours       an epoch as a job trains it, files to optimiser step, from the second epoch on (the cache is filled)
synthetic  our step alone, fed with one batch that lies on the device: what `ours` cannot exceed
plain      an eager float32 loop as milesial/Pytorch-UNet and torchvision's reference scripts have it, with PIL
plain step its step alone, fed with one batch that lies on the device

They take turns, so that what else the machine does falls on all of them alike; a figure is the median of its turns.
`ours / synthetic` says what the pictures cost, `synthetic / plain step` what our arithmetic gains. Pictures are drawn:
JPEG of 1918 × 1280 with masks for segmentation, of 500 × 375 for classification.

--pytorch-unet DIR  a checkout of milesial/Pytorch-UNet: `plain` trains its U-Net on its data set class
--timm DIR          a checkout of huggingface/pytorch-image-models: its train.py --amp --channels-last, for classifiers
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import CARVANA, PET, draw, write
from ours import Ours
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from byoc_vision.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from byoc_vision.data.samples import Dataset
from byoc_vision.models.build import build_model
from byoc_vision.models.spec import ModelSpec, Task
from byoc_vision.precision import choose_device

Turn = Callable[[], float]


@dataclass(frozen=True)
class Recipe:
    """cpu, gpu: pictures' size, batch size and batches an epoch."""

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


class PlainPictures(TorchDataset[tuple[Tensor, Tensor]]):
    """As the usual projects read pictures: with PIL, in each epoch, to float32."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.dataset = dataset
        self.size = size

    def __len__(self) -> int:
        return len(self.dataset.train)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.dataset.train[index]
        picture = Image.open(sample.image).convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = (np.asarray(picture, np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
        image = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
        if sample.mask is None:
            return image, torch.tensor(sample.label)
        mask = Image.open(sample.mask).resize((self.size, self.size), Image.Resampling.NEAREST)
        return image, torch.from_numpy((np.asarray(mask) > 0).astype(np.float32))


class Plain:
    """The eager float32 loop."""

    def __init__(
        self, net: nn.Module, pictures: TorchDataset[tuple[Tensor, Tensor]], task: Task, batch: int, workers: int
    ) -> None:
        self.device = choose_device()
        self.net = net.to(self.device).train()
        self.task = task
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-4)
        pin = self.device.type == "cuda"
        self.batches: Iterable[tuple[Tensor, Tensor]] = DataLoader(
            pictures, batch, shuffle=True, drop_last=True, num_workers=workers, pin_memory=pin
        )
        self.first = [part.to(self.device) for part in next(iter(self.batches))]

    def epoch(self) -> float:
        return rate(self._loaded(), self.step)

    def steps(self) -> float:
        count = len(self.batches)  # type: ignore[arg-type]
        return rate(((self.first[0], self.first[1]) for _ in range(count)), self.step)

    def _loaded(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, targets in self.batches:
            yield images.to(self.device), targets.to(self.device)

    def step(self, images: Tensor, targets: Tensor) -> None:
        logits = self.net(images)
        if self.task == "classification":
            loss = F.cross_entropy(logits, targets)
        elif logits.shape[1] == 1:
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], targets)
        else:
            loss = F.cross_entropy(logits, targets.long())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def rate(batches: Iterable[tuple[Tensor, Tensor]], step: Callable[[Tensor, Tensor], object]) -> float:
    """Images a second, the GPU's last work included."""
    started, pictures = time.perf_counter(), 0
    for images, targets in batches:
        step(images, targets)
        pictures += len(images)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return pictures / (time.perf_counter() - started)


def plain(recipe: Recipe, dataset: Dataset, size: int, batch: int, workers: int, peer: Path | None) -> Plain:
    if peer and recipe.task == "segmentation" and recipe.encoder is None:
        return _pytorch_unet(peer, dataset, size, batch, workers)
    outputs = 1 if recipe.task == "segmentation" else len(dataset.classes)
    spec = ModelSpec(task=recipe.task, architecture=recipe.model, encoder=recipe.encoder, outputs=outputs)
    return Plain(build_model(spec), PlainPictures(dataset, size), recipe.task, batch, workers)


def _pytorch_unet(peer: Path, dataset: Dataset, size: int, batch: int, workers: int) -> Plain:
    """milesial's network and data set class; its pictures keep their proportions, so theirs have as many pixels."""
    sys.path.insert(0, str(peer))
    from unet import UNet
    from utils.data_loading import CarvanaDataset

    folder = Path(str(dataset.train[0].image)).parents[1]
    scale = size / (CARVANA[0] * CARVANA[1]) ** 0.5
    theirs = CarvanaDataset(str(folder / "pictures"), str(folder / "masks"), scale)
    pairs = _AsPairs(theirs)
    return Plain(UNet(n_channels=3, n_classes=2), pairs, "segmentation", batch, workers)


class _AsPairs(TorchDataset[tuple[Tensor, Tensor]]):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        item = self.dataset[index]
        return item["image"].float(), item["mask"]


def timm_train(peer: Path, dataset: Dataset, model: str, batch: int, workers: int, folder: Path) -> float:
    """Images a second that timm's own script reports in its last lines."""
    for split in ("train", "validation"):
        for sample in dataset.train:
            place = folder / "timm" / split / str(sample.label) / Path(str(sample.image)).name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(str(sample.image))
    command = [sys.executable, str(peer / "train.py"), "--data-dir", str(folder / "timm"), "--model", model]
    command += ["--amp", "--channels-last", "-b", str(batch), "--workers", str(workers), "--epochs", "2"]
    command += ["--num-classes", "10", "--log-interval", "1", "--output", str(folder / "timm_output")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rates = re.findall(r"Train: 1 .*?([\d.]+)/s", done.stdout + done.stderr)
    return statistics.median(map(float, rates))


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
        rates: dict[str, list[float]] = {name: [] for name in turns}
        for turn in range(options.turns + 1):
            for name, take in turns.items():
                seen = take()
                if turn:  # the first turn fills the cache and warms up
                    rates[name].append(seen)
        data_wait = own.data_wait
    figures = {name: statistics.median(seen) for name, seen in rates.items()}
    if options.timm and recipe.task == "classification":
        figures["timm"] = timm_train(options.timm, dataset, recipe.model, batch, workers, folder)
    ratios = {
        "ours / synthetic": figures["ours"] / figures["synthetic"],
        "synthetic / plain step": figures["synthetic"] / figures["plain step"],
        "ours / plain": figures["ours"] / figures["plain"],
    }
    if "timm" in figures:
        ratios["ours / timm"] = figures["ours"] / figures["timm"]
    return {
        "size": size,
        "batch_size": batch,
        "batches": batches,
        "workers": workers,
        "precision": own.precision,
        "data_wait": round(data_wait, 3),
        "images_per_second": {name: round(value, 1) for name, value in figures.items()},
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
    }


def line(name: str, result: dict[str, Any]) -> str:
    columns = [f"{what} {value}" for what, value in (result["images_per_second"] | result["ratios"]).items()]
    return f"{name} ({result['size']}, batch {result['batch_size']}, {result['precision']}): {' · '.join(columns)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--size", type=int, help="of the model's input, both sides")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--batches", type=int, help="an epoch")
    parser.add_argument("--workers", type=int, help="default: as a job chooses them")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try its convolutions for each shape")
    parser.add_argument("--pytorch-unet", type=Path, metavar="DIR")
    parser.add_argument("--timm", type=Path, metavar="DIR")
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
