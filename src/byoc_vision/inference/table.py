"""Writes predictions as a table, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from pathlib import Path

from byoc_vision.artifact import ModelConfig
from byoc_vision.atomic_write import spreadsheet_cells
from byoc_vision.inference.encoding import DECIMALS, class_shares
from byoc_vision.inference.predictor import Answer, Classification

_SEPARATOR = ";"  # between the classes of an image that can have several


class PredictionTable:
    """A CSV file with a row for each predicted image, written one by one.

    Segmentation: the image, its mask, and each class's share of the pixels. Classification: the image, the best class
    and its probability, the present classes if an image can have several, and the probability of every class.
    """

    def __init__(self, path: Path, config: ModelConfig) -> None:
        self._path = path
        path.write_text("", encoding="utf-8")
        self._write(_header(config))

    def add(self, source: Path, prediction: Answer, mask: Path | None = None) -> None:
        """Write the row of an image. mask: the file of its mask."""
        if isinstance(prediction, Classification):
            self._write([source, *_classes(prediction)])
        else:
            assert mask is not None, "every mask has a file"
            self._write([source, mask.name, *class_shares(prediction.labels, len(prediction.classes))])

    def _write(self, cells: list[object]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(spreadsheet_cells(cells))


def _header(config: ModelConfig) -> list[object]:
    names = [entry.name for entry in config.classes]
    if config.task == "segmentation":
        return ["file", "mask", *(f"share {name}" for name in names)]
    present = ["present"] if config.activation == "sigmoid" else []
    return ["file", "class", "probability", *present, *(f"probability {name}" for name in names)]


def _classes(prediction: Classification) -> list[object]:
    ranked = prediction.ranked()
    best, probability = ranked[0]
    cells: list[object] = [best, round(probability, DECIMALS)]
    if prediction.threshold is not None:
        cells.append(_SEPARATOR.join(name for name, score in ranked if score > prediction.threshold))
    return [*cells, *(round(score, DECIMALS) for score in prediction.probabilities.tolist())]
