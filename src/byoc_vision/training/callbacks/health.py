"""A job's health rules: what they judge of the data and of each epoch, and whether one of them ends the training."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path

from byoc_vision.data.cache import ImageCache
from byoc_vision.data.loaders import TrainingLoader
from byoc_vision.health.facts import DataFacts, EpochFacts, Silence, Waiting
from byoc_vision.health.learning_rules import StalledTraining
from byoc_vision.health.loader_diagnosis import measure, remedy
from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.report.record import Record, Times
from byoc_vision.system.stacks import stack_of
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.callback import Callback
from byoc_vision.training.callbacks.step_timer import StepTimer
from byoc_vision.training.history import History

PACKAGE = Path(__file__).resolve().parents[2]
_LOOKS = 4  # at the clock, in the time that is allowed without a step


class Health(Callback):
    """The rules judge in the main process only: elsewhere, and if no rule is wanted, `monitor` has none.

    timer: of the steps. loader: of the training images. data: what the rules judge before the first epoch.
    """

    def __init__(
        self,
        monitor: HealthMonitor,
        hyperparameters: Hyperparameters,
        history: History,
        timer: StepTimer,
        loader: TrainingLoader,
        cache: ImageCache | None = None,
        data: DataFacts | None = None,
        length: Length | None = None,
    ) -> None:
        self.monitor = monitor
        self._hyperparameters = hyperparameters
        self._history = history
        self._timer = timer
        self._loader = loader
        self._cache = cache
        self._data, self._length = data, length
        self._epoch = 1
        self._peaks: list[int] = []
        self._seen = 0  # readings of the epochs before
        self._stall: StallWatch | None = None

    @property
    def stop(self) -> bool:
        """Whether a rule ends the training; in the main process."""
        return self.monitor.stopped_by is not None

    def train_begin(self, record: Record) -> None:
        if rule := self.monitor.rule(StalledTraining):
            self._stall = StallWatch(rule.seconds, self._stalled)
            self._stall.start()
        if self._data:
            self.monitor.judge(self._data, self._epoch)

    def epoch_begin(self, epoch: int, step: int) -> None:
        self._epoch = epoch
        self._beat()

    def step_end(self) -> None:
        self._beat()

    def batch_validated(self) -> None:
        self._beat()

    def judge_epoch(self, times: Times) -> None:
        """Judge the run after an epoch and its validation, which are in the history."""
        if self.monitor.is_idle:
            return
        self._note_peak(times)
        objective, hyperparameters = self._history.objective, self._hyperparameters
        facts = EpochFacts(
            epochs=self._history.records,
            objective=objective.name,
            mode=objective.mode,
            planned=self._length.epochs if self._length else hyperparameters.epochs,
            stops_early=hyperparameters.early_stopping,
            step_seconds=self._timer.epoch_seconds[1:],  # with the first step the loader's processes start
            waiting=self._waiting(),
            times=times,
            peaks=self._peaks,
            batch_size=hyperparameters.batch_size,
        )
        self.monitor.judge(facts, self._epoch)

    def train_end(self, record: Record) -> None:
        if self._stall:
            self._stall.stop()
            self._stall = None

    def _beat(self) -> None:
        if self._stall:
            self._stall.beat()

    def _stalled(self, silence: Silence) -> None:
        self.monitor.judge(silence, self._epoch)

    def _waiting(self) -> Waiting:
        throughput, cached = self._timer.throughput, self._cache is not None and not self._cache.is_full
        return Waiting(
            share=throughput.data_wait,
            seconds=throughput.waited,
            loading=functools.cache(lambda: measure(self._loader.dataset, cached=cached)),
            remedy=remedy(self._cache, self._loader.num_workers, on_gpu=self._timer.device.type == "cuda"),
            shares=throughput.waits,
        )

    def _note_peak(self, times: Times) -> None:
        """The most GPU memory in the readings since the last epoch, if there are any."""
        memory = [reading.gpu_memory for reading in times.readings[self._seen :] if reading.gpu_memory is not None]
        self._seen = len(times.readings)
        if memory:
            self._peaks.append(max(memory))


class StallWatch:
    """Calls `tell` while no `beat` came for longer than `seconds`. A beat costs nothing."""

    def __init__(
        self, seconds: float, tell: Callable[[Silence], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._tell = tell
        self._clock = clock
        self._beat_at = clock()
        self._ended = threading.Event()
        self._watched = threading.current_thread()

    def beat(self) -> None:
        self._beat_at = self._clock()

    def start(self) -> None:
        self.beat()
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def look(self) -> None:
        """Look at the clock now."""
        silent = self._clock() - self._beat_at
        if silent >= self._seconds:
            self._tell(Silence(silent, standing(self._watched)))

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds / _LOOKS):
            self.look()


def standing(thread: threading.Thread) -> str:
    """The line that a thread is at, and the line of this package that called it."""
    lines = stack_of(thread)
    if not lines:
        return "a thread that has ended"
    own = next((line for line in lines if PACKAGE in Path(line[0]).parents), None)
    innermost = _described(*lines[0])
    return innermost if own is None or own == lines[0] else f"{innermost}, called from {_described(*own)}"


def _described(file: str, line: int, function: str) -> str:
    path = Path(file)
    shown = path.relative_to(PACKAGE) if PACKAGE in path.parents else path.name
    return f"{shown}:{line} ({function})"
