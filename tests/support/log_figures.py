"""A job's log, read as SageMaker reads it, beside the figures that the job left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.describe.metrics import MetricDefinition, metrics_in


def compare_log(log: str, output_data: Path, definitions: Sequence[MetricDefinition]) -> None:
    """Every definition finds its figure, and in each epoch's line the one that metrics.json has, as it is written."""
    record: dict[str, Any] = json.loads((output_data / "metrics.json").read_text(encoding="utf-8"))
    found = [figures for line in log.splitlines() if (figures := metrics_in(line, definitions))]
    epochs = [figures for figures in found if "epoch" in figures]
    assert len(epochs) == len(record["epochs"]) > 0
    known = {definition.name for definition in definitions}
    for figures, epoch in zip(epochs, record["epochs"], strict=True):
        expected = {f"validation:{name}": value for name, value in epoch["validation"].items()}
        expected |= {"train:loss": epoch["train_loss"], "epoch": epoch["epoch"]}
        expected |= {"epoch_seconds": epoch["seconds"], "images_per_second": epoch["images_per_second"]}
        expected |= {"data_wait_percent": 100 * epoch["data_wait"], "learning_rate": epoch["learning_rate"]}
        expected = {name: value for name, value in expected.items() if name in known}
        assert figures.keys() == expected.keys() == {name for name in known if not name.startswith("test:")}
        for name, value in expected.items():
            assert figures[name] == as_written(name, value)
    if record.get("test"):
        expected = {f"test:{name}": value for name, value in record["test"].items() if f"test:{name}" in known}
        assert found[-1] == pytest.approx(expected, abs=6e-5)
        assert expected.keys() == {name for name in known if name.startswith("test:")}


def as_written(name: str, value: float) -> Any:
    """Within half of the last digit that is written; of a learning rate three digits are."""
    if name == "learning_rate":
        return pytest.approx(value, rel=5e-3)
    digit = {"epoch_seconds": 0.1, "images_per_second": 0.1, "data_wait_percent": 1.0}.get(name, 1e-4)
    return pytest.approx(value, rel=0, abs=0.51 * digit)
