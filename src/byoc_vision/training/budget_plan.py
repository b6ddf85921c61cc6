"""What fits into a time: the steps of a training and what follows them, by the speed that is measured before it."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import nn

from byoc_vision.data.loaders import TrainingLoader
from byoc_vision.data.samples import Dataset
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World, on_rank0
from byoc_vision.system.machine import has_bfloat16
from byoc_vision.training.batch_layout import Length, in_groups
from byoc_vision.training.callbacks.step_timer import StepTimer
from byoc_vision.training.checkpoint import kept_random_state
from byoc_vision.training.checkpoint_file import on_cpu
from byoc_vision.training.quantization import (
    CALIBRATION_IMAGES,
    CALIBRATION_PASSES,
    FEW_IMAGES,
    JOB_SHARE,
    LEAST_IMAGES,
)
from byoc_vision.training.step import Step

WHOLE_EPOCHS = 10  # from so many on the last one is not cut short
LEAST_PASS = 0.1  # of a pass: a shorter one is left out
MARGIN = 0.02  # of the budget, which is not planned
REPORT_SECONDS = 2.0
EXPORT_SECONDS = 6.0  # of the OpenVINO form, with the time to import it
INT8_SECONDS = 20.0  # of NNCF, with the time to import it, before it calibrates
WARM_UP = 2  # steps that start processes and compile kernels
STEPS = 8  # that count, if they do not take too long
BATCHES = 4  # of an evaluation, after one that does not count


class Speed(NamedTuple):
    """Seconds of a step, and of an evaluation of all validation images with what follows it."""

    step: float
    evaluation: float


@dataclass(frozen=True)
class ServedPlan:
    """How one process measures the form for CPUs. Its evaluations are as fast as those of the training.

    precisions: without INT8. validation, calibration: images, to evaluate and to calibrate INT8 on. processes: that
    share an evaluation of the training. most: seconds for all of it with INT8; 0 if there is none.
    """

    precisions: int
    validation: int
    calibration: int
    processes: int
    most: float

    def reserve(self, evaluation: float) -> float:
        """Seconds, by those of an evaluation.

        If the time is too short for all images, INT8 is calibrated on fewer. Below FEW_IMAGES the job leaves it out.
        """
        each = self.processes * evaluation / max(1, self.validation)
        without = self.precisions * self.validation * each
        with_few, with_all = (
            without + INT8_SECONDS + (CALIBRATION_PASSES * count + self.validation) * each
            for count in (min(self.calibration, FEW_IMAGES), self.calibration)
        )
        return min(with_all, self.most) if with_few <= self.most else without

    @classmethod
    def of(cls, hyperparameters: Hyperparameters, dataset: Dataset, world: World, budget: float) -> ServedPlan:
        """budget: seconds; `int8=auto` gets a tenth of them at most."""
        validation, most = len(dataset.validation), 0.0
        if hyperparameters.int8 is True:
            most = math.inf
        elif hyperparameters.int8 == "auto" and validation >= LEAST_IMAGES[dataset.task]:
            most = JOB_SHARE * budget
        calibration = min(len(dataset.train), CALIBRATION_IMAGES[dataset.task])
        return cls(2 if has_bfloat16() else 1, validation, calibration, world.size, most)


@dataclass(frozen=True)
class Ending:
    """What follows the training, in evaluations of the validation images and in seconds.

    evaluations: of the test images, of the soup, and of masks. seconds: for the export and the report. served: None
    without a form for CPUs. models: that are evaluated after each pass, the weights and perhaps their average; after
    the training it is one.
    """

    evaluations: float = 0.0
    seconds: float = 0.0
    served: ServedPlan | None = None
    models: int = 1

    def reserve(self, speed: Speed, budget: float) -> float:
        evaluation = speed.evaluation / self.models
        served = self.served.reserve(evaluation) if self.served else 0.0
        return self.evaluations * evaluation + self.seconds + served + MARGIN * budget

    @classmethod
    def of(
        cls, hyperparameters: Hyperparameters, dataset: Dataset, world: World, budget: float, started: float = 0.0
    ) -> Ending:
        """dataset: of all hosts. budget: seconds.

        started: seconds that the job took so far. The export imports libraries and builds the network as well: where
        that takes long, it will take long again.
        """
        evaluations, seconds, served = len(dataset.test) / max(1, len(dataset.validation)), REPORT_SECONDS, None
        if hyperparameters.openvino:
            seconds += max(EXPORT_SECONDS, min(started / 2, budget / 10))
            served = ServedPlan.of(hyperparameters, dataset, world, budget)
        evaluations += bool(hyperparameters.soup)
        if chosen := [hyperparameters.mask_threshold, hyperparameters.min_area].count("auto"):
            evaluations += 2 * chosen + 1  # several masks of each image are measured, and then the model again
        return cls(evaluations, seconds, served, models_after_a_pass(hyperparameters))


def models_after_a_pass(hyperparameters: Hyperparameters) -> int:
    """How many are evaluated: the weights, and their average if there is one."""
    return 2 if hyperparameters.ema_decay else 1


def steps_that_fit(seconds: float, speed: Speed, length: Length, epoch: int, into: int) -> int:
    """The steps in all, of which `into` are made of pass `epoch`; each pass ends with an evaluation.

    Not less than are made: then the time that is left suffices only for the evaluation of the pass.
    """
    made, per_epoch = length.made(epoch, into), length.steps_per_epoch
    rest, tail = per_epoch - into, seconds - speed.evaluation
    if tail < rest * speed.step:
        return made + max(0, int(tail / speed.step))
    left = tail - rest * speed.step
    passes, left = divmod(left, per_epoch * speed.step + speed.evaluation)
    more = int((left - speed.evaluation) / speed.step)
    if epoch + passes >= WHOLE_EPOCHS or more < LEAST_PASS * per_epoch:
        more = 0
    return made + rest + int(passes) * per_epoch + more


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
    """Make a few steps and evaluate a few batches; call it in all processes.

    The network and all generators stay: the training begins as if nothing had been measured.

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
