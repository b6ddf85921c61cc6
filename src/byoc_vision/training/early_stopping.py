"""When to stop: the validation figure has not improved for too long."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal


@dataclass
class EarlyStopping:
    """Counts the epochs without improvement.

    An epoch improves where its figure beats the best one so far by more than `tolerance`, in the figure's units.
    `min_epochs` are trained in any case. A figure that is not a number is no improvement.
    """

    patience: int
    min_epochs: int = 0
    tolerance: float = 0.0
    mode: Literal["max", "min"] = "max"
    best: float | None = None
    waited: int = 0

    def should_stop(self, epoch: int, value: float) -> bool:
        """Whether `epoch`, counted from 1, with this figure was the last one worth training. Call it once an epoch."""
        if self._improves(value):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience and epoch >= self.min_epochs

    def state_dict(self) -> dict[str, Any]:
        """What changes from epoch to epoch; the settings are not in it."""
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
