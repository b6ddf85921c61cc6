"""A trace of the steps that the hyperparameter `profile_steps` names: what each operator took, and when it ran."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from byoc_vision.report.record import Operator, Profile, Record
from byoc_vision.training.callback import Callback

PROFILE_FOLDER = "profile"
MOST_OPERATORS = 20
_MICROSECONDS = 1e-6

logger = logging.getLogger(__name__)


class StepProfiler(Callback):
    """Traces the steps `first` to `last` of the whole job, counted from 1; at most to the end of an epoch.

    output: the job's output/data, below which the trace is written when it is whole. profile: what was traced.
    """

    def __init__(self, steps: tuple[int, int], output: Path, device: torch.device, steps_per_epoch: int) -> None:
        self.profile: Profile | None = None
        self._steps_per_epoch = steps_per_epoch
        self._first, self._last = steps
        self._output = output
        self._device = device
        self._step = 0
        self._began = 0
        self._running: profile | None = None
        self._label: record_function | None = None

    def epoch_begin(self, epoch: int, step: int) -> None:
        self._step = done = (epoch - 1) * self._steps_per_epoch + step
        if done >= self._last and not self._began:
            self._began = done
            logger.warning(
                "profile_steps=%d:%d lies before step %d, with which this start continues: there is no trace of it",
                self._first,
                self._last,
                done + 1,
            )

    def step_begin(self) -> None:
        if self._running and self._step >= self._last:
            self._finish()
        self._step += 1
        if self._began == 0 and self._first <= self._step <= self._last:
            self._start()
        if self._running:
            self._label = record_function(f"step {self._step}")
            self._label.__enter__()  # type: ignore[no-untyped-call]

    def step_end(self) -> None:
        if self._label:
            self._label.__exit__(None, None, None)
            self._label = None

    def epoch_trained(self) -> None:
        """Write the trace: the validation that follows is not a step."""
        if self._running:
            self._finish()

    def train_end(self, record: Record) -> None:
        self.epoch_trained()
        if not self._began:
            logger.warning(
                "profile_steps=%d:%d: the training ended with step %d, so there is no trace; name earlier steps",
                self._first,
                self._last,
                self._step,
            )

    def _start(self) -> None:
        self._began = self._step
        activities = [ProfilerActivity.CPU]
        if self._device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
            torch.cuda.synchronize()  # earlier work is not part of it
        self._running = profile(activities=activities)
        self._running.start()

    def _finish(self) -> None:
        assert self._running is not None
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        running, self._running = self._running, None
        running.stop()
        steps = (self._began, self._step)
        trace = f"{PROFILE_FOLDER}/steps-{steps[0]}-{steps[1]}.json.gz"
        try:
            (self._output / PROFILE_FOLDER).mkdir(parents=True, exist_ok=True)
            running.export_chrome_trace(str(self._output / trace))
        except OSError as error:
            logger.warning("The trace of steps %d to %d could not be written: %s", *steps, error)
            return
        self.profile = Profile(steps=steps, trace=trace, operators=operators(running))
        logger.info("%s holds a trace of steps %d to %d; ui.perfetto.dev shows it", self._output / trace, *steps)


def operators(traced: profile, most: int = MOST_OPERATORS) -> list[Operator]:
    """Those that took most: of the GPU's time if it worked, else of the CPU's.

    A kernel's time is its operator's: the GPU's own lines would count it twice.
    """
    lines = [
        Operator(
            name=line.key,
            calls=line.count,
            cpu_seconds=line.self_cpu_time_total * _MICROSECONDS,
            gpu_seconds=line.self_device_time_total * _MICROSECONDS,
        )
        for line in traced.key_averages()
        if line.device_type.name == "CPU" and not line.is_user_annotation
    ]
    return sorted(lines, key=lambda line: (line.gpu_seconds, line.cpu_seconds), reverse=True)[:most]
