"""The figures of a finished job, as JSON beside the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from byoc_vision import __version__
from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.report.record import Finding
from byoc_vision.training.fit import Figures, History

RESULTS_FILE = "metrics.json"


def write_results(
    folder: Path,
    hyperparameters: Hyperparameters,
    dataset: Dataset,
    history: History,
    test: Figures | None,
    seconds: float,
    findings: Sequence[Finding] = (),
) -> None:
    """Write `metrics.json` into /opt/ml/output/data: what was asked for, each epoch, the best one, the test.

    findings: of the health rules.
    """
    best = history.best  # None where the job was stopped in its first epoch
    content: dict[str, Any] = {
        "package_version": __version__,
        "task": dataset.task,
        "classes": [asdict(entry) for entry in dataset.classes],
        "pictures": {name: len(samples) for name, samples in dataset.splits.items()},
        "hyperparameters": hyperparameters.model_dump(mode="json"),
        "objective": f"validation:{history.objective.name}",
        "best_epoch": best.epoch if best else None,
        "validation": best.validation if best else {},
        "test": test,
        "seconds": round(seconds, 1),
        "epochs": [asdict(record) for record in history.records],
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
