"""Training steps on the GPU against those on the CPU: losses, precisions, optimisers, overflows, memory formats."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from support.gpu_steps import CLASSIFIER, CPU, MANY_CLASSES, SEGMENTER, batch_of, losses, step_of
from torch import Tensor, nn

from byoc_vision.models.losses import build_loss
from byoc_vision.training.callback import Callback
from byoc_vision.training.optimizers import OPTIMIZERS
from byoc_vision.training.step import Step
from byoc_vision.types import ModelSpec

HALVES = [
    pytest.param(torch.bfloat16, id="bfloat16"),
    pytest.param(torch.float16, marks=pytest.mark.gpu, id="float16"),
]


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "bce_dice", "focal"])
@pytest.mark.parametrize("outputs", [1, 5])
def test_losses_are_those_of_the_cpu_in_float64(name: str, outputs: int, device: torch.device) -> None:
    logits = torch.randn(2, outputs, 33, 47, generator=torch.Generator().manual_seed(3)) * 8
    targets = torch.randint(max(2, outputs), (2, 33, 47), dtype=torch.uint8)
    targets[0, :5] = 255
    loss = build_loss(name, "sigmoid" if outputs == 1 else "softmax")
    expected = float(loss(logits, targets))
    assert float(loss.to(device)(logits.to(device), targets.to(device))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("spec", [SEGMENTER, MANY_CLASSES, CLASSIFIER], ids=lambda spec: spec.architecture)
def test_the_first_loss_is_that_of_the_cpu_in_float32(
    spec: ModelSpec, dtype: torch.dtype, device: torch.device, say: Callable[[str], None]
) -> None:
    (expected,) = losses(step_of(spec, torch.float32, CPU), batch_of(spec, CPU), 1)
    first, *_, last = losses(step_of(spec, dtype, device), batch_of(spec, device), 3)
    say(f"{expected:.5f} on the CPU, {first:.5f} here, {last:.5f} two steps later")
    assert first == pytest.approx(expected, rel=1e-2 if dtype == torch.float32 else 0.1)
    assert math.isfinite(last)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str, dtype: torch.dtype, device: torch.device) -> None:
    rate = 1e-2 if optimizer in ("sgd", "nag", "adagrad") else 1e-3
    step = step_of(CLASSIFIER, dtype, device, optimizer, rate, clip_grad_norm=1.0)
    seen = losses(step, batch_of(CLASSIFIER, device), 12)
    assert all(map(math.isfinite, seen))
    assert seen[-1] < seen[0]


@pytest.mark.gpu
@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_survives_overflows_of_float16(optimizer: str, clip: float, device: torch.device) -> None:
    junk = [torch.full((2**22,), 1e30, device=device) for _ in range(16)]  # what memory that is not written may hold
    del junk
    step = step_of(CLASSIFIER, torch.float16, device, optimizer, clip_grad_norm=clip)
    step.scaler._init_scale = 2.0**40  # the scaler halves it until the gradients are finite
    seen = losses(step, batch_of(CLASSIFIER, device), 40)
    assert step.schedule.last_epoch < 40, "no step overflowed"
    assert all(map(math.isfinite, seen))
    assert max(parameter.abs().max().item() for parameter in step.model.parameters()) < 100


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_accumulated_batches_are_one_large_batch(dtype: torch.dtype, device: torch.device) -> None:
    """In evaluation mode, where batch normalisation does not see the size of a batch."""
    images, targets = batch_of(SEGMENTER, device, count=8)
    found = []
    for size in (8, 4):
        step = step_of(SEGMENTER, dtype, device, "sgd", 0.1)
        step.model.eval()
        step(list(zip(images.split(size), targets.split(size), strict=True)))
        found.append(torch.cat([parameter.detach().flatten() for parameter in step.model.parameters()]))
    torch.testing.assert_close(*found, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-2)


class Formats(Callback):
    """Whether the logits, and so all before them, lie channels-last in memory."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        self.seen.append(logits.is_contiguous(memory_format=torch.channels_last))


def test_channels_last_reaches_the_logits(device: torch.device) -> None:
    formats = Formats()
    step = step_of(MANY_CLASSES, torch.bfloat16, device, callbacks=formats)
    step([batch_of(MANY_CLASSES, device)])
    assert formats.seen == [True]
    convolutions = [module for module in step.model.modules() if type(module) is nn.Conv2d]
    assert all(module.weight.is_contiguous(memory_format=torch.channels_last) for module in convolutions)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_of_float16_waits_for_the_gpu_once(optimizer: str, device: torch.device) -> None:
    """torch warns of each wait; the scaler's, to know whether to skip the step, is one."""
    step = step_of(CLASSIFIER, torch.float16, device, optimizer, clip_grad_norm=1.0)
    batch = batch_of(CLASSIFIER, device)
    for _ in range(20):
        step([batch])
    waits = waits_of(step, batch)
    assert len(waits) == 1, waits


@pytest.mark.gpu
def test_a_step_of_bfloat16_does_not_wait_for_the_gpu(device: torch.device) -> None:
    """Nor does the copy of a batch that lies in pinned memory."""
    step = step_of(MANY_CLASSES, torch.bfloat16, device, clip_grad_norm=1.0)
    images, targets = batch_of(MANY_CLASSES, CPU)
    batch = images.contiguous(memory_format=torch.channels_last).pin_memory(), targets.pin_memory()
    for _ in range(3):
        step([batch])
    assert not waits_of(step, batch)


def waits_of(step: Step, batch: tuple[Tensor, Tensor]) -> list[str]:
    """What torch's warnings say of each wait for the GPU in a step."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step([batch])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [str(warning.message) for warning in caught if "synchronizing" in str(warning.message)]
