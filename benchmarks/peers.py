"""Other projects' training, on our drawn images."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import CARVANA
from plain import Plain, rate
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from byoc_vision.data.samples import Dataset
from byoc_vision.precision import choose_device, choose_precision


def pytorch_unet(checkout: Path, dataset: Dataset, size: int, batch: int, workers: int) -> Plain:
    """The loop with milesial/Pytorch-UNet's network and data set class.

    Its images keep their proportions; they are scaled to as many pixels as `size` × `size` has.
    """
    sys.path.insert(0, str(checkout))
    from unet import UNet
    from utils.data_loading import CarvanaDataset

    folder = Path(str(dataset.train[0].image)).parents[1]
    scale = size / (CARVANA[0] * CARVANA[1]) ** 0.5
    pairs = _AsPairs(CarvanaDataset(str(folder / "pictures"), str(folder / "masks"), scale))
    return Plain(UNet(n_channels=3, n_classes=2, bilinear=False), pairs, "segmentation", batch, workers)


class _AsPairs(TorchDataset[tuple[Tensor, Tensor]]):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        item = self.dataset[index]
        return item["image"].float(), (item["mask"] > 0).long()


class Timm:
    """timm's data set, loader, model and optimiser, in the loop of its train.py with --amp --channels-last.

    Without AMP on CPUs that lack bfloat16 instructions: it would be many times slower.
    """

    def __init__(self, dataset: Dataset, folder: Path, model: str, size: int, batch: int, workers: int) -> None:
        import timm
        from timm.data import create_dataset, create_loader
        from timm.optim import create_optimizer_v2

        self.device = choose_device()
        self.precision = choose_precision("float16" if self.device.type == "cuda" else "auto", self.device)
        self.scaler = self.precision.scaler()
        net = timm.create_model(model, num_classes=len(dataset.classes))
        self.net = net.to(self.device).to(memory_format=torch.channels_last).train()
        self.optimizer = create_optimizer_v2(self.net, opt="sgd", lr=0.05, momentum=0.9)
        self.batches = create_loader(
            create_dataset("", root=str(class_folders(dataset, folder) / "train"), is_training=True),
            input_size=(3, size, size),
            batch_size=batch,
            is_training=True,
            num_workers=workers,
            use_prefetcher=self.device.type == "cuda",
            device=self.device,
        )

    def epoch(self) -> float:
        return rate(self._loaded(), self.step)

    def _loaded(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, targets in self.batches:
            yield images.to(self.device, memory_format=torch.channels_last), targets.to(self.device)

    def step(self, images: Tensor, targets: Tensor) -> None:
        with self.precision.autocast():
            loss = F.cross_entropy(self.net(images), targets)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()


def timm_script(
    checkout: Path, dataset: Dataset, folder: Path, model: str, size: int, batch: int, workers: int
) -> float:
    """The images per second of the second epoch, from the log of train.py in a checkout of timm."""
    device = choose_device().type
    command = [sys.executable, str(checkout / "train.py"), "--data-dir", str(class_folders(dataset, folder))]
    command += ["--model", model, "--num-classes", str(len(dataset.classes)), "--img-size", str(size)]
    command += ["--device", device, "--amp", "--amp-dtype", "float16" if device == "cuda" else "bfloat16"]
    command += ["--channels-last", "-b", str(batch), "--workers", str(workers), "--epochs", "2"]
    command += ["--warmup-epochs", "0", "--log-interval", "1", "--output", str(folder / "timm_output")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    averages = re.findall(r"Train: 1 \[.*?\(\s*[\d.]+s,\s*([\d.]+)/s\)", done.stdout + done.stderr)
    if done.returncode or not averages:
        sys.exit(f"{checkout / 'train.py'} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return float(averages[-1])


def class_folders(dataset: Dataset, folder: Path) -> Path:
    """train/LABEL/ and validation/LABEL/ with links to the images."""
    root = folder / "class_folders"
    for split in ("train", "validation"):
        for sample in dataset.train:
            place = root / split / str(sample.label) / Path(str(sample.image)).name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.hardlink_to(str(sample.image))
    return root
