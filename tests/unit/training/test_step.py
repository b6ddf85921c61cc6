"""Steps of the optimiser, over several batches and in several processes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import equal_steps, forked, shared_steps
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from byoc_vision.launch.distributed import World
from byoc_vision.precision import Precision
from byoc_vision.training.callback import Callback
from byoc_vision.training.optimizers import OPTIMIZERS, build_optimizer, build_schedule
from byoc_vision.training.step import Batch, Step

TOLERANCE = 1e-5  # the order of float32 sums differs


@pytest.fixture(scope="module")
def whole() -> dict[str, list[torch.Tensor]]:
    """What one process learns from each step's images in one batch."""
    return {name: shared_steps.train(case, World(), 1) for name, case in shared_steps.CASES.items()}


@pytest.mark.parametrize("parts", [2, 4, 14])
@pytest.mark.parametrize("name", shared_steps.CASES)
def test_accumulated_batches_are_one_large_batch(name: str, parts: int, whole: dict[str, list[torch.Tensor]]) -> None:
    accumulated = shared_steps.train(shared_steps.CASES[name], World(), parts)
    torch.testing.assert_close(accumulated, whole[name], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_learn_what_one_learns_from_the_same_images(
    tmp_path: Path, size: int, whole: dict[str, list[torch.Tensor]]
) -> None:
    store, log = str(tmp_path / "store"), tmp_path / "log"
    others = [forked.start(shared_steps.take_part, rank, size, store, log=log) for rank in range(1, size)]
    shared = shared_steps.train_shares(0, size, store)
    assert [process.wait(60) for process in others] == [0] * len(others), log.read_text()
    for (name, _), learnt in shared.items():
        torch.testing.assert_close(learnt, whole[name], rtol=TOLERANCE, atol=TOLERANCE)


def test_the_documented_differences_are_of_every_loss_and_within_the_tolerance() -> None:
    """`python -m support.equal_steps` measures them."""
    documented = equal_steps.documented()
    assert list(documented) == list(shared_steps.CASES)
    assert all(0 <= value <= TOLERANCE for values in documented.values() for value in values)


def test_class_weights_count_also_in_batches_of_one() -> None:
    """Each batch divided by its own weights would cancel them."""
    weighted, plain = shared_steps.CASES["labels, weighted"], shared_steps.CASES["labels"]
    assert not torch.allclose(
        shared_steps.train(weighted, World(), 14)[-2], shared_steps.train(plain, World(), 14)[-2], atol=1e-3
    )


class Overflow(Callback):
    """The gradients of the first step are infinite, as float16's are at the scaler's first scale."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.steps = 0

    def gradients_computed(self) -> None:
        self.steps += 1
        if self.steps == 1:
            for parameter in self.net.parameters():
                assert parameter.grad is not None
                parameter.grad.fill_(math.inf)


def scaled_step(optimizer: str, **more: float) -> tuple[Step, nn.Module, Batch]:
    """A step whose loss is scaled, as in float16 on a GPU, on a tiny network whose first gradients overflow."""
    case = shared_steps.CASES["labels"]
    torch.manual_seed(0)
    net = case.net()
    moved = build_optimizer(optimizer, net, 1e-3, scaled=True)
    schedule = build_schedule("constant", moved, total_steps=10, steps_per_epoch=10)
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    precision, device = Precision(torch.float32, "cpu"), torch.device("cpu")
    step = Step(net, case.loss(), moved, schedule, precision, scaler, device, callbacks=Overflow(net), **more)
    step.begin()
    return step, net, shared_steps.batch(case, 0)


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_overflowed_step_of_float16_is_skipped_and_the_next_ones_learn(optimizer: str, clip: float) -> None:
    step, net, batch = scaled_step(optimizer, clip_grad_norm=clip)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    # Memory that is not zero, where an average that was never written would find its values.
    for tensor in [torch.full_like(parameter, 1e20) for parameter in net.parameters() for _ in range(8)]:
        del tensor
    losses = [float(step([batch])[0])]
    assert all(map(torch.equal, before, net.parameters()))
    assert step.schedule.last_epoch == 0
    losses += [float(step([batch])[0]) for _ in range(4)]
    assert all(map(math.isfinite, losses)), losses
    assert losses[-1] < losses[0]
    assert step.schedule.last_epoch == 4


class Waits(TorchDispatchMode):
    """Counts the numbers that are taken from tensors: on a GPU the CPU waits for each of them.

    apart: the addresses of tensors that stay on the CPU on any device: the optimiser's numbers of steps.
    """

    def __init__(self, apart: set[int]) -> None:
        super().__init__()
        self.apart = apart
        self.count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if operation is torch.ops.aten._local_scalar_dense.default:
            self.count += arguments[0].data_ptr() not in self.apart
        return operation(*arguments, **(options or {}))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_of_float16_waits_once_for_the_device(optimizer: str) -> None:
    step, _, batch = scaled_step(optimizer, clip_grad_norm=1.0)
    for _ in range(2):  # the first overflows
        step([batch])
    steps = {state["step"].data_ptr() for state in step.optimizer.state.values() if "step" in state}
    with Waits(apart=steps) as waits:
        step([batch])
    assert waits.count == 1


META = torch.device("meta")  # stands for a GPU: numbers cannot be read from its tensors, and none lie in main memory


class Copies(TorchDispatchMode):
    """Lists copies between main memory and the device during which the CPU waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = operation(*arguments, **(options or {}))
        if operation in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = arguments[operation is torch.ops.aten.copy_.default]
            waits = not (options or {}).get("non_blocking", len(arguments) > 2 and arguments[2])
            if source.device != result.device and waits:
                self.seen.append(f"{operation} from {source.device} to {result.device}")
        return result


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_of_float32_does_not_wait_for_the_device(optimizer: str) -> None:
    check_that_nothing_waits(shared_steps.CASES["labels"], optimizer)


@pytest.mark.parametrize("name", shared_steps.CASES)
def test_no_loss_waits_for_the_device(name: str) -> None:
    check_that_nothing_waits(shared_steps.CASES[name], "adamw")


def check_that_nothing_waits(case: shared_steps.Case, optimizer: str) -> None:
    """Two steps, of two batches each: the first makes the optimiser's averages."""
    net, batch = case.net().to(META), shared_steps.batch(case, 0)
    moved = build_optimizer(optimizer, net, 1e-3, scaled=True)  # torch has fused kernels for real devices alone
    schedule = build_schedule("constant", moved, total_steps=10, steps_per_epoch=10)
    scaler, precision = torch.amp.GradScaler("cpu", enabled=False), Precision(torch.float32, "cpu")
    step = Step(net, case.loss().to(META), moved, schedule, precision, scaler, META, clip_grad_norm=1.0)
    step.begin()
    with Copies() as copies:
        for _ in range(2):
            step([batch, batch])
    assert not copies.seen
    assert all(state for state in moved.state.values())
