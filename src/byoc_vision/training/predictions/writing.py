"""Predictions as files in a job's output folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from byoc_vision.atomic_write import write_csv
from byoc_vision.report.record import CONFUSION_FILE, IMAGES_FOLDER, PREDICTIONS_FILE, TEST_CONFUSION_FILE
from byoc_vision.training.predictions.collector import SplitPredictions

CORNER = "actual \\ predicted"


def write_predictions(folder: Path, splits: Sequence[SplitPredictions]) -> None:
    """predictions.csv of all splits, a confusion matrix of each, and the images that their galleries show.

    confusion_matrix.csv is of the first split, confusion_matrix_test.csv of a test split that follows it.

    splits: of one model. Each file is written whole; files of earlier predictions are removed. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = splits[0]
    write_csv(folder / PREDICTIONS_FILE, first.columns, (line for split in splits for line in split.lines()))
    _write_confusion(folder / CONFUSION_FILE, first)
    later = next((split for split in splits[1:] if split.evaluation.split == "test"), None)
    _write_confusion(folder / TEST_CONFUSION_FILE, later)
    for split in splits:
        _write_images(folder / IMAGES_FOLDER, split)


def _write_confusion(path: Path, split: SplitPredictions | None) -> None:
    if split is None or split.evaluation.confusion is None:
        path.unlink(missing_ok=True)
        return
    counts = zip(split.class_names, split.evaluation.confusion, strict=True)
    write_csv(path, [CORNER, *split.class_names], ([name, *row] for name, row in counts))


def _write_images(folder: Path, split: SplitPredictions) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in split.images.items():
        beside = folder / f".{name}"
        beside.write_bytes(content)
        beside.replace(folder / name)
    for path in folder.glob(f"{split.evaluation.split}-*"):
        if path.name not in split.images:
            path.unlink()
