"""Predictions as files in a job's output folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from byoc_vision.atomic_write import write_csv
from byoc_vision.report.record import CONFUSION_FILE, IMAGES_FOLDER, PREDICTIONS_FILE
from byoc_vision.training.predictions.collector import SplitPredictions

CORNER = "actual \\ predicted"


def write_predictions(folder: Path, splits: Sequence[SplitPredictions]) -> None:
    """predictions.csv of all splits, confusion_matrix.csv of the first, and the images that their galleries show.

    splits: of one model. Each file is written whole; images that are no longer shown are removed. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = splits[0]
    write_csv(folder / PREDICTIONS_FILE, first.columns, (line for split in splits for line in split.lines()))
    if first.evaluation.confusion is not None:
        counts = zip(first.class_names, first.evaluation.confusion, strict=True)
        write_csv(folder / CONFUSION_FILE, [CORNER, *first.class_names], ([name, *row] for name, row in counts))
    for split in splits:
        _write_images(folder / IMAGES_FOLDER, split)


def _write_images(folder: Path, split: SplitPredictions) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in split.images.items():
        beside = folder / f".{name}"
        beside.write_bytes(content)
        beside.replace(folder / name)
    for path in folder.glob(f"{split.evaluation.split}-*"):
        if path.name not in split.images:
            path.unlink()
