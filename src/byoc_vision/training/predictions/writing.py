"""What images were answered, as files in a job's output folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from byoc_vision.atomic_write import renamed_into_place
from byoc_vision.report.record import CONFUSION_FILE, IMAGES_FOLDER, PREDICTIONS_FILE
from byoc_vision.training.predictions.collector import Collected

CORNER = "actual \\ predicted"


def write_answers(folder: Path, collected: Sequence[Collected]) -> None:
    """predictions.csv of all of them, confusion_matrix.csv of the first, and what their galleries show.

    collected: of one model, a split each. Each file is written whole; images that are shown no more are removed.
    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = collected[0]
    _write_table(folder / PREDICTIONS_FILE, first.columns, (line for each in collected for line in each.lines()))
    if first.evaluation.confusion is not None:
        counts = zip(first.class_names, first.evaluation.confusion, strict=True)
        _write_table(folder / CONFUSION_FILE, [CORNER, *first.class_names], ([name, *row] for name, row in counts))
    for each in collected:
        _write_images(folder / IMAGES_FOLDER, each)


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with renamed_into_place(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _write_images(folder: Path, collected: Collected) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in collected.images.items():
        beside = folder / f".{name}"
        beside.write_bytes(content)
        beside.replace(folder / name)
    for path in folder.glob(f"{collected.evaluation.split}-*"):
        if path.name not in collected.images:
            path.unlink()
