"""Training steps of networks on a device, for the tests on a GPU."""

from __future__ import annotations

from typing import Any

import torch

from byoc_vision.models.build import build_model
from byoc_vision.models.losses import build_loss
from byoc_vision.models.normalized import Normalized
from byoc_vision.precision import Precision
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Batch, Step
from byoc_vision.types import ModelSpec

CPU = torch.device("cpu")
SEGMENTER = ModelSpec(task="segmentation", architecture="unet_small", outputs=1)
MANY_CLASSES = ModelSpec(task="segmentation", architecture="unet", encoder="mobilenet_v2", outputs=5)
CLASSIFIER = ModelSpec(task="classification", architecture="resnet18", outputs=5)


def batch_of(spec: ModelSpec, device: torch.device, count: int = 4, side: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    if spec.task == "segmentation":
        shape = (count, side, side)
        targets = torch.randint(max(2, spec.outputs), shape, dtype=torch.uint8, generator=generator)
    else:
        targets = torch.randint(spec.outputs, (count,), generator=generator)
    return images.to(device), targets.to(device)


def step_of(
    spec: ModelSpec, dtype: torch.dtype, device: torch.device, optimizer: str = "adamw", rate: float = 1e-3, **more: Any
) -> Step:
    torch.manual_seed(0)
    net = Normalized(build_model(spec), (0.5,) * 3, (0.5,) * 3).to(device).to(memory_format=torch.channels_last)
    precision = Precision(dtype, device.type)
    scaler = precision.scaler()
    moved = build_optimizer(optimizer, net, rate, scaled=scaler.is_enabled())
    loss = build_loss(
        "bce_dice" if spec.task == "segmentation" else "cross_entropy",
        "sigmoid" if spec.outputs == 1 else "softmax",
        task=spec.task,
    ).to(device)
    schedule = build_schedule("constant", moved, total_steps=99, steps_per_epoch=99)
    step = Step(net, loss, moved, schedule, precision, scaler, device, **more)
    step.begin()
    return step


def losses(step: Step, batch: Batch, count: int) -> list[float]:
    return [float(step([batch])[0]) / len(batch[0]) for _ in range(count)]
