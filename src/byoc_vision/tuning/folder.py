"""What a search leaves, and where.

best_hyperparameters.json   the best trial's hyperparameters, as SageMaker takes them
model/                      its model
report.html                 its report
tuning.html                 how the search went
trials.csv                  a line for each trial
study.db                    Optuna's study, from which the search goes on
trials/0007/                a trial: its hyperparameters, its log, and output/data with its figures
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from byoc_vision.errors import InputError
from byoc_vision.paths import MlPaths


@dataclass(frozen=True)
class SearchFolder:
    """The files below a search's output folder."""

    root: Path

    @property
    def study(self) -> Path:
        return self.root / "study.db"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def page(self) -> Path:
        return self.root / "tuning.html"

    @property
    def table(self) -> Path:
        return self.root / "trials.csv"

    @property
    def best_hyperparameters(self) -> Path:
        return self.root / "best_hyperparameters.json"

    @property
    def locks(self) -> Path:
        return self.root / ".locks"

    @property
    def study_lock(self) -> Path:
        """Held while trials are handed out, and while the best model changes."""
        return self.locks / "study.lock"

    def trial_lock(self, number: int) -> Path:
        """Held for as long as a trial runs."""
        return self.locks / f"trial-{number:04}.lock"

    def trial(self, number: int) -> MlPaths:
        """A trial's own /opt/ml."""
        return MlPaths(self.root / "trials" / f"{number:04}")

    def prepare(self) -> None:
        """Make it. Raises InputError where it holds something else than a search."""
        try:
            if self.root.exists() and not self.study.exists() and not self.locks.exists() and any(self.root.iterdir()):
                raise InputError(f"{self.root} holds other files; name a new or an empty folder with --output")
            self.locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.root} cannot be a folder ({error.strerror}); name another with --output"
            ) from error
