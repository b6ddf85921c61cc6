"""The files of a search.

best_hyperparameters.json   the best trial's hyperparameters, as SageMaker takes them
model/                      its model
report.html                 its report
tuning.html                 the page of the search
trials.csv                  a line for each trial
study.db                    Optuna's study, from which the search resumes
trials/0007/                a trial: its hyperparameters, its log, and output/data with its metrics
"""

from __future__ import annotations

from pathlib import Path

from byoc_vision.errors import InputError
from byoc_vision.paths import MlPaths


class SearchFolder:
    """The files below a search's output folder.

    study_lock: held while a trial is chosen, and while the best model is replaced.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.study = root / "study.db"
        self.model = root / "model"
        self.report = root / "report.html"
        self.page = root / "tuning.html"
        self.table = root / "trials.csv"
        self.best_hyperparameters = root / "best_hyperparameters.json"
        self.locks = root / ".locks"
        self.study_lock = self.locks / "study.lock"

    def trial_lock(self, number: int) -> Path:
        """Held while a trial runs."""
        return self.locks / f"trial-{number:04}.lock"

    def trial(self, number: int) -> MlPaths:
        """A trial's own /opt/ml."""
        return MlPaths(self.root / "trials" / f"{number:04}")

    def prepare(self) -> None:
        """Create the folder. Raises InputError if it holds other files than a search's."""
        try:
            if self.root.exists() and not self.study.exists() and not self.locks.exists() and any(self.root.iterdir()):
                raise InputError(f"{self.root} holds other files; name a new or an empty folder with --output")
            self.locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.root} cannot be created ({error.strerror}); name another with --output") from error
