"""How long a job took to its first step, how far its training is, and when it will end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import torch
from torch import Tensor

from byoc_vision.launch.job_time import seconds_since_start
from byoc_vision.progress import Schedule, clock_time, default_schedule, has_bar, line
from byoc_vision.report.record import Reading, Record
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.callback import Callback
from byoc_vision.training.callbacks.step_timer import StepLosses

FIRST_STEPS = 20  # after which the end is estimated
WARM_UP = 5  # the first of them, which start processes and compile kernels, do not count

logger = logging.getLogger(__name__)


class TimeToFirstStep(Callback):
    """Logs how long this process took to its first step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._done = False

    def step_end(self) -> None:
        if self._done:
            return
        self._done = True
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        if (seconds := seconds_since_start()) is not None:
            logger.info("The first step was done %.1f s after the start", seconds)


@dataclass(frozen=True)
class Work:
    """What the job has to do. validation, test: images of all processes."""

    length: Length
    validation: int = 0
    test: int = 0
    processes: int = 1
    stops_early: bool = False

    @property
    def epochs(self) -> int:
        return self.length.epochs


@dataclass
class _Moment:
    """Where the training was at a time of the schedule's clock. images: since the epoch began, of all processes."""

    seconds: float
    step: int
    images: int


class TrainingProgress(Callback):
    """Logs lines; the device computes a mean loss in passing, which is read later without waiting.

        progress: training epoch=3/10 done=45.0% images/s=812 loss_so_far=0.2345 rate=0.001 gpu_memory=12.3/139.8GB
        gpu_load=93% epoch_left=0:02:10 job_left=1:12:00

    All of it is one line. Its names are none of those that SageMaker's metric definitions search for.

    Args:
        rate: the learning rate as it is.
        reading: the newest of the machine; None if there is none yet. gpu_memory_limit: bytes.
        cached: bytes in the cache of decoded images; None without one.
        max_runtime: seconds that the job may last.
        elapsed: since the job's start, in seconds.
        now: the time of day.
    """

    def __init__(
        self,
        device: torch.device,
        work: Work,
        *,
        rate: Callable[[], float],
        reading: Callable[[], Reading | None] = lambda: None,
        gpu_memory_limit: Callable[[], int | None] = lambda: None,
        cached: Callable[[], int | None] = lambda: None,
        max_runtime: float | None = None,
        elapsed: Callable[[], float | None] = seconds_since_start,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        schedule: Schedule | None = None,
    ) -> None:
        self._device, self._work, self._rate = device, work, rate
        self._reading, self._gpu_memory_limit, self._cached = reading, gpu_memory_limit, cached
        self._max_runtime, self._elapsed, self._now = max_runtime, elapsed, now
        self._schedule = schedule or default_schedule()
        self._losses = StepLosses(device)
        self._awaited: list[_Moment] = []  # those whose losses are not computed yet
        self._all_steps = 0
        self._end_said = False
        self._validation_seconds: float | None = None
        self._loss_sum: Tensor | None = None  # of the epoch's batches, on the device
        self._warm: _Moment | None = None
        self._trained: _Moment | None = None
        self._begin(1, 0)

    def epoch_begin(self, epoch: int, step: int) -> None:
        self._schedule.restart()
        self._begin(epoch, step)

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        self._images += len(images) * self._work.processes

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        loss = loss.detach().float()
        self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
        self._batches += 1

    def step_end(self) -> None:
        self._step += 1
        self._all_steps += 1
        if self._all_steps == WARM_UP:
            self._warm = self._moment()
        elif self._all_steps == FIRST_STEPS and not self._end_said and self._warm:
            self._end_said = True
            self._say_end(self._seconds_per_step(self._warm, self._moment()), self._step)
        if self._loss_sum is not None and self._schedule.is_due() and not has_bar():
            self._losses.put(self._step, self._loss_sum / self._batches)
            self._awaited.append(self._moment())
        self._write()

    def epoch_trained(self) -> None:
        self._write(wait=True)
        self._trained = self._moment()

    def epoch_end(self, record: Record) -> None:
        """What followed the last step was the validation."""
        ended = self._schedule.clock()
        if self._trained and self._step:
            self._validation_seconds = ended - self._trained.seconds
            if not self._end_said and self._epoch < self._work.epochs and self._trained.step > self._begun.step:
                self._end_said = True
                self._say_end(self._seconds_per_step(self._begun, self._trained), self._trained.step, validated=True)
        self._schedule.restart()

    def train_end(self, record: Record) -> None:
        self._write(wait=True)

    def _begin(self, epoch: int, step: int) -> None:
        self._epoch, self._step, self._images, self._batches = epoch, step, 0, 0
        self._loss_sum = None
        self._begun = self._before = self._moment()
        self._warm = self._trained = None

    def _moment(self) -> _Moment:
        return _Moment(self._schedule.clock(), self._step, self._images)

    def _write(self, *, wait: bool = False) -> None:
        for _, loss in self._losses.take(wait=wait):
            here = self._awaited.pop(0)
            logger.info(self._line(here, loss))
            self._before = here

    def _line(self, here: _Moment, loss: float) -> str:
        work, seconds = self._work, here.seconds - self._before.seconds
        per_second = (here.images - self._before.images) / seconds if seconds > 0 else 0.0
        per_step = self._seconds_per_step(self._begun, here)
        steps = work.length.steps_in(self._epoch)
        epoch_left = per_step * (steps - here.step)
        cached = self._cached() if self._epoch == 1 else None
        return line(
            "training",
            f"epoch={self._epoch}/{work.epochs}",
            f"done={here.step / steps:.1%}",
            f"images/s={per_second:.4g}",
            f"loss_so_far={loss:.4f}",
            f"rate={self._rate():.3g}",
            *machine_values(self._reading(), self._gpu_memory_limit()),
            "" if cached is None else f"cached={_gigabytes(cached)}GB",
            f"epoch_left={clock_time(epoch_left)}",
            f"job_left={clock_time(self._seconds_left(per_step, here.step))}",
        )

    def _seconds_left(self, per_step: float, step: int, *, validated: bool = False) -> float:
        """Of the job, after a step of this epoch. Before the first validation it is taken to be as fast as training."""
        work = self._work
        steps = work.length.steps - work.length.steps_before(self._epoch) - step
        validations = work.epochs - self._epoch + (not validated)
        images_per_step = self._images / max(1, self._step - self._begun.step)
        per_image = per_step / images_per_step if images_per_step else 0.0
        validation = self._validation_seconds
        if validation is None:
            validation = work.validation * per_image
        elif work.validation:
            per_image = validation / work.validation
        return per_step * steps + validations * validation + work.test * per_image

    def _seconds_per_step(self, earlier: _Moment, later: _Moment) -> float:
        return (later.seconds - earlier.seconds) / max(1, later.step - earlier.step)

    def _say_end(self, per_step: float, step: int, *, validated: bool = False) -> None:
        left = self._seconds_left(per_step, step, validated=validated)
        end = f"{self._now() + timedelta(seconds=left):%Y-%m-%d %H:%M} UTC"
        limit = "at the latest, as it may stop early" if self._work.stops_early else "as far as its first steps tell"
        logger.info("The job ends in %s, at %s, %s (%.3g s for each step)", clock_time(left), end, limit, per_step)
        passed = self._elapsed() or 0.0
        if self._max_runtime is None or passed + left <= self._max_runtime:
            return
        logger.warning(
            "The job needs about %s in all, and SageMaker ends it after its MaxRuntimeInSeconds of %.0f (%s), in about "
            "epoch %d of %d. Raise MaxRuntimeInSeconds, lower epochs, or take a faster instance",
            clock_time(passed + left),
            self._max_runtime,
            clock_time(self._max_runtime),
            self._epoch_at(max(0.0, self._max_runtime - passed), left),
            self._work.epochs,
        )

    def _epoch_at(self, seconds: float, left: float) -> int:
        """The epoch that the training reaches after so many of the seconds that are left."""
        epochs = self._work.epochs - self._epoch + 1
        return min(self._work.epochs, self._epoch + int(epochs * seconds / left))


def machine_values(reading: Reading | None, gpu_memory_limit: int | None) -> list[str]:
    """Memory and load of the GPU, or of the machine if there is none, as `name=value`."""
    if reading is None:
        return []
    values = []
    if reading.gpu_memory is not None:
        of = f"/{_gigabytes(gpu_memory_limit)}" if gpu_memory_limit else ""
        values.append(f"gpu_memory={_gigabytes(reading.gpu_memory)}{of}GB")
    if reading.gpu is not None:
        values.append(f"gpu_load={reading.gpu:.0%}")
    if not values:
        values.append(f"memory={_gigabytes(reading.memory)}GB" if reading.memory is not None else "")
        values.append(f"cpu_load={reading.cpu:.0%}" if reading.cpu is not None else "")
    return values


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f}"
