"""What the epochs of a training came to: their records, the best of them, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from byoc_vision.errors import InputError
from byoc_vision.evaluation.epoch_record import EpochRecord, Metrics
from byoc_vision.evaluation.metric_names import Objective


@dataclass
class History:
    """All epochs so far, and the best of them.

    floor: epoch 0, see linear_probe.py; None if the job has none. It is the best until an epoch beats it.
    soup: the epochs whose averaged weights are better than those of any; empty if they are not.
    """

    objective: Objective
    records: list[EpochRecord] = field(default_factory=list)
    best: EpochRecord | None = None
    floor: EpochRecord | None = None
    soup: Sequence[int] = ()

    def add(self, record: EpochRecord) -> bool:
        """Whether this epoch is the best so far. Any number beats NaN."""
        self.records.append(record)
        if self.best is None or self.objective.is_better(self._value(record), self._value(self.best)):
            self.best = record
            return True
        return False

    def begin_with(self, floor: EpochRecord) -> EpochRecord:
        """The floor is known, before the first epoch."""
        self.floor = self.best = floor
        return floor

    def better_in_the_end(self, validation: Metrics) -> EpochRecord:
        """What the best epoch became after the last epoch is better: it has these metrics, the epoch keeps its own."""
        assert self.best is not None, "an epoch is complete"
        self.best = replace(self.best, validation=validation)
        return self.best

    def replace_best(self, validation: Metrics) -> EpochRecord:
        """The best epoch with other validation metrics: its model was measured on other images."""
        assert self.best is not None, "an epoch is complete"
        record = replace(self.best, validation=validation)
        if self.best is self.floor:
            self.floor = record
        else:
            self.records[self.records.index(self.best)] = record
        self.best = record
        return record

    def state_dict(self) -> dict[str, Any]:
        return {
            "records": [asdict(record) for record in self.records],
            "floor": asdict(self.floor) if self.floor else None,
            "best_epoch": self.best.epoch if self.best else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.records[:] = [EpochRecord(**record) for record in state["records"]]
        floor = state.get("floor")  # older checkpoints have none
        self.floor = EpochRecord(**floor) if floor else None
        known = [*self.records, self.floor] if self.floor else self.records
        self.best = next((record for record in known if record.epoch == state["best_epoch"]), None)

    def _value(self, record: EpochRecord) -> float:
        return record.validation[self.objective.name]


@dataclass
class EarlyStopping:
    """Counts the epochs without improvement.

    An epoch improves if its metric beats the best one so far by more than `tolerance`, in the metric's units.
    `min_epochs` are trained in any case. A metric that is not a number is not an improvement.
    """

    patience: int
    min_epochs: int = 0
    tolerance: float = 0.0
    mode: Literal["max", "min"] = "max"
    best: float | None = None
    waited: int = 0

    def should_stop(self, epoch: int, value: float) -> bool:
        """Whether `epoch`, counted from 1, with this metric is the last one. Call it once an epoch."""
        if self._improves(value):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience and epoch >= self.min_epochs

    def state_dict(self) -> dict[str, Any]:
        """What changes from epoch to epoch, without the settings."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        gain = value - self.best if self.mode == "max" else self.best - value
        return gain > self.tolerance


def diverged(epoch: int, learning_rate: float, loss: float, diagnosis: str | None) -> InputError:
    """The error of a training whose loss is not a number."""
    cause = f" ({diagnosis})" if diagnosis else ""
    return InputError(
        f"learning_rate: the training loss is {loss} in epoch {epoch}: the training diverged at a "
        f"learning rate of {learning_rate:g}{cause}. Lower it (a tenth is a good next try), or set clip_grad_norm=1"
    )
