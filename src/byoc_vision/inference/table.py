"""Answers as a table, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from pathlib import Path

from byoc_vision.artifact import ModelConfig
from byoc_vision.atomic_write import spreadsheet_cells
from byoc_vision.inference.encoding import DECIMALS, class_shares
from byoc_vision.inference.predictor import Answer, Classification

_BETWEEN = ";"  # the classes of an image that may have several


class PredictionTable:
    """A CSV file with a row for each image that is answered, written as they come.

    Of masks: the image, its mask, and each class's share of the pixels. Of classes: the image, the best class and
    its probability, where it may have several classes those that are present, and the probability of every class.
    """

    def __init__(self, path: Path, config: ModelConfig) -> None:
        self._path = path
        path.write_text("", encoding="utf-8")
        self._write(_header(config))

    def add(self, source: Path, answer: Answer, mask: Path | None = None) -> None:
        """mask: the file that holds it."""
        if isinstance(answer, Classification):
            self._write([source, *_classes(answer)])
        else:
            assert mask is not None, "a mask has a file of its own"
            self._write([source, mask.name, *class_shares(answer.labels, len(answer.classes))])

    def _write(self, cells: list[object]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(spreadsheet_cells(cells))


def _header(config: ModelConfig) -> list[object]:
    names = [entry.name for entry in config.classes]
    if config.task == "segmentation":
        return ["file", "mask", *(f"share {name}" for name in names)]
    present = ["present"] if config.activation == "sigmoid" else []
    return ["file", "class", "probability", *present, *(f"probability {name}" for name in names)]


def _classes(answer: Classification) -> list[object]:
    ranked = answer.ranked()
    best, probability = ranked[0]
    cells: list[object] = [best, round(probability, DECIMALS)]
    if answer.threshold is not None:
        cells.append(_BETWEEN.join(name for name, score in ranked if score > answer.threshold))
    return [*cells, *(round(score, DECIMALS) for score in answer.probabilities.tolist())]
