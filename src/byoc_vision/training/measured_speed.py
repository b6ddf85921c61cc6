"""How long a job's own steps and evaluations take on this machine, measured before the training.

The training begins afterwards as if nothing had been measured.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from byoc_vision.data.loaders import TrainingLoader
from byoc_vision.training.batch_layout import in_groups
from byoc_vision.training.callbacks.step_timer import StepTimer
from byoc_vision.training.checkpoint import kept_random_state
from byoc_vision.training.checkpoint_file import on_cpu
from byoc_vision.training.distributed import World, on_rank0
from byoc_vision.training.evaluation import Evaluator
from byoc_vision.training.step import Step

WARM_UP = 2  # steps that start processes and compile kernels
STEPS = 8  # that count, if they do not take too long
BATCHES = 4  # of an evaluation, after one that does not count


class Speed(NamedTuple):
    """Seconds of a step, and of an evaluation of all validation images with what follows it."""

    step: float
    evaluation: float


def measure_speed(
    net: nn.Module,
    step: Step,
    loader: TrainingLoader,
    accumulate_steps: int,
    evaluator: Evaluator,
    validation: Any,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Speed:
    """Make a few steps and evaluate a few batches; call it in all processes. The network and all generators stay.

    Args:
        step: with an optimiser of its own; its callbacks are not called.
        validation: this process's batches.
        seconds: after which it makes only what is left of a warm-up and one step that counts.
    """
    before = on_cpu(net.state_dict())
    try:
        with kept_random_state():
            return Speed(
                _step_seconds(step, loader, accumulate_steps, seconds, clock),
                _evaluation_seconds(evaluator, validation, step.world, clock),
            )
    finally:
        net.load_state_dict(before)
        step.optimizer.zero_grad(set_to_none=True)


def _step_seconds(
    step: Step, loader: TrainingLoader, accumulate_steps: int, seconds: float, clock: Callable[[], float]
) -> float:
    timer, world = StepTimer(step.device), step.world
    step = replace(step, callbacks=timer)
    loader.set_epoch(1)
    step.begin()
    started = clock()
    for made, group in enumerate(in_groups(timer.watch(loader), accumulate_steps), start=1):
        step(group)
        late = on_rank0(world, lambda: clock() - started > seconds)
        if made >= WARM_UP + STEPS or (made > 1 and late):
            break
    timer.epoch_trained()
    times = timer.epoch_seconds[WARM_UP:] or timer.epoch_seconds[-1:]
    return on_rank0(world, lambda: _mean(times))


def _evaluation_seconds(evaluator: Evaluator, validation: Any, world: World, clock: Callable[[], float]) -> float:
    evaluator.evaluate(itertools.islice(validation, 1))  # the first one imports libraries
    batches = min(len(validation), BATCHES)
    started = clock()
    evaluator.evaluate(itertools.islice(validation, batches))
    seconds = clock() - started
    return on_rank0(world, lambda: seconds * len(validation) / max(1, batches))


def _mean(times: Sequence[float]) -> float:
    return sum(times) / len(times) if times else 0.0
