"""What labelled images were answered: figures, classes, confusions, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from byoc_vision.report import words
from byoc_vision.report.charts import CLASS_FIGURES, objective_name
from byoc_vision.report.heat_map import heat_map
from byoc_vision.report.record import CalibrationBin, ClassScore, Evaluation, Record
from byoc_vision.report.views.galleries import Gallery, galleries

MOST_IN_TABLE = 40  # classes, of a confusion matrix that can be read
MOST_CLASSES = 1000  # in the table of scores
MOST_PAIRS = 15
_COLUMNS = {
    "iou": "IoU",
    "average_precision": "Average precision",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
}


@dataclass(frozen=True)
class Scores:
    """The classes' table: a line for each, the values in the order of columns; the first is also drawn as a bar.

    left_out: of very many classes the best.
    """

    columns: list[str]
    classes: list[tuple[ClassScore, list[float | None]]]
    unit: str
    left_out: int = 0


@dataclass(frozen=True)
class Cell:
    """text: in the cell. share: of the target's row, 0–1. told: all of it in words."""

    text: str
    share: float
    told: str
    is_right: bool


@dataclass(frozen=True)
class Pair:
    actual: str
    predicted: str
    number: int
    share: float


@dataclass(frozen=True)
class Bin:
    """Of the calibration curve. low, high: its bounds, 0–1."""

    low: float
    high: float
    entry: CalibrationBin


@dataclass(frozen=True)
class Answers:
    """One evaluation. matrix: a row of cells for each class, where they are few; heat_map: a data URL, where not."""

    key: str
    title: str
    evaluation: Evaluation
    figures: list[tuple[str, str]]
    scores: Scores | None
    names: list[str]
    matrix: list[list[Cell]] | None
    heat_map: str | None
    pairs: list[Pair]
    bins: list[Bin]
    histogram: list[tuple[str, int, float]]
    galleries: list[Gallery]

    @property
    def unit(self) -> str:
        return self.scores.unit if self.scores else "images"


def answers(record: Record) -> list[Answers]:
    return [_answers(record, entry, f"answers-{place}") for place, entry in enumerate(record.evaluations)]


def _answers(record: Record, entry: Evaluation, key: str) -> Answers:
    unit = "pixels" if record.task == "segmentation" else "images"
    names = [score.name for score in entry.classes]
    confusion = _square(entry.confusion, len(names))
    small = len(names) <= MOST_IN_TABLE
    after = "" if entry.epoch is None else f", after epoch {entry.epoch}"
    return Answers(
        key=key,
        title=f"{words.capital(entry.split)}{after}",
        evaluation=entry,
        figures=_figures(record, entry),
        scores=_scores(entry.classes, unit),
        names=names,
        matrix=_matrix(confusion, names, unit) if confusion is not None and small else None,
        heat_map=heat_map(confusion) if confusion is not None and not small else None,
        pairs=most_confused(confusion, names) if confusion is not None else [],
        bins=_bins(entry.calibration),
        histogram=_histogram(entry.dice_histogram),
        galleries=galleries(record, entry, key),
    )


def _figures(record: Record, entry: Evaluation) -> list[tuple[str, str]]:
    """Of all classes together, the one that decides first."""
    names = [name for name in entry.figures if not name.startswith(CLASS_FIGURES)]
    ordered = sorted(names, key=lambda name: name != objective_name(record))
    return [(words.capital(words.title(name)), words.figure(entry.figures[name])) for name in ordered]


def _scores(classes: Sequence[ClassScore], unit: str) -> Scores | None:
    present = [name for name in _COLUMNS if any(getattr(score, name) is not None for score in classes)]
    if not present:
        return None
    shown: Sequence[ClassScore] = classes
    if len(classes) > MOST_CLASSES:
        shown = sorted(classes, key=lambda score: _or_best(getattr(score, present[0])))[:MOST_CLASSES]
    rows = [(score, [getattr(score, name) for name in present]) for score in shown]
    return Scores([_COLUMNS[name] for name in present], rows, unit, len(classes) - len(rows))


def _or_best(value: float | None) -> float:
    return 1.0 if value is None else value


def _square(confusion: Sequence[Sequence[int]] | None, classes: int) -> np.ndarray | None:
    """int64 [target, answer]; None where there is none, or it is not of these classes."""
    if confusion is None or not classes or [len(row) for row in confusion] != [classes] * classes:
        return None
    return np.array(confusion, np.int64)


def _matrix(confusion: np.ndarray, names: Sequence[str], unit: str) -> list[list[Cell]]:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return [
        [_cell(confusion, shares, names, unit, target, answer) for answer in range(len(names))]
        for target in range(len(names))
    ]


def _cell(confusion: np.ndarray, shares: np.ndarray, names: Sequence[str], unit: str, target: int, answer: int) -> Cell:
    number, share = int(confusion[target, answer]), float(shares[target, answer])
    in_short = words.count(number) if unit == "images" else f"{100 * share:.3g}"
    told = f"{names[target]} answered as {names[answer]}: {words.count(number)} {unit}, {words.share(share)}"
    return Cell(in_short if number else "", share, told, target == answer)


def most_confused(confusion: np.ndarray, names: Sequence[str], most: int = MOST_PAIRS) -> list[Pair]:
    """Of different classes, the most frequent first. confusion: int64 [target, answer]."""
    wrong = confusion * ~np.eye(len(confusion), dtype=bool)
    of_truth = np.maximum(confusion.sum(axis=1), 1)
    places = np.argsort(-wrong, axis=None, kind="stable")[:most]
    found = [divmod(int(place), len(names)) for place in places]
    return [
        Pair(names[target], names[answer], int(wrong[target, answer]), float(wrong[target, answer] / of_truth[target]))
        for target, answer in found
        if wrong[target, answer]
    ]


def _bins(calibration: Sequence[CalibrationBin] | None) -> list[Bin]:
    entries = calibration or []
    return [Bin(place / len(entries), (place + 1) / len(entries), entry) for place, entry in enumerate(entries)]


def _histogram(counts: Sequence[int] | None) -> list[tuple[str, int, float]]:
    """Of each bar: its bounds, how many images, and its height as a share of the highest."""
    if not counts:
        return []
    highest = max(counts) or 1
    return [
        (f"{place / len(counts):.2f}–{(place + 1) / len(counts):.2f}", number, number / highest)
        for place, number in enumerate(counts)
    ]
