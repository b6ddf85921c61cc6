"""Training as in most projects: eager float32, with PIL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from byoc_vision.data.samples import Dataset
from byoc_vision.precision import choose_device
from byoc_vision.preprocess import IMAGENET_MEAN, IMAGENET_STD
from byoc_vision.types import Task


class PlainImages(TorchDataset[tuple[Tensor, Tensor]]):
    """Reads images as most projects do: with PIL, in each epoch, to float32."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.dataset = dataset
        self.size = size

    def __len__(self) -> int:
        return len(self.dataset.train)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.dataset.train[index]
        resized = Image.open(sample.image).convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = (np.asarray(resized, np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
        image = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
        if sample.mask is None:
            return image, torch.tensor(sample.label)
        mask = Image.open(sample.mask).resize((self.size, self.size), Image.Resampling.NEAREST)
        return image, torch.from_numpy((np.asarray(mask) > 0).astype(np.float32))


class Plain:
    """The eager float32 loop."""

    def __init__(
        self, net: nn.Module, images: TorchDataset[tuple[Tensor, Tensor]], task: Task, batch: int, workers: int
    ) -> None:
        self.device = choose_device()
        self.net = net.to(self.device).train()
        self.task = task
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-4)
        pin = self.device.type == "cuda"
        self.batches: Iterable[tuple[Tensor, Tensor]] = DataLoader(
            images, batch, shuffle=True, drop_last=True, num_workers=workers, pin_memory=pin
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
    """The images per second, including the GPU's last work."""
    started, seen = time.perf_counter(), 0
    for images, targets in batches:
        step(images, targets)
        seen += len(images)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return seen / (time.perf_counter() - started)
