"""The predictions for labelled images: metrics, classes, confusions, calibration, and galleries beside the targets."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from byoc_vision.report import formatting
from byoc_vision.report.charts import CLASS_METRICS, objective_first
from byoc_vision.report.record import CalibrationBin, ClassScore, Evaluation, Example, GalleryName, Record

MOST_IN_TABLE = 40  # classes, of a confusion matrix that can be read
MOST_CLASSES = 1000  # in the table of scores
MOST_PAIRS = 15
MOST_PIXELS = 500  # of a side of a heat map

_COLUMNS = {
    "iou": "IoU",
    "average_precision": "Average precision",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
}
_ORDER: tuple[GalleryName, ...] = ("worst", "random", "best")
_PANES = {"image": "Image", "target": "Target", "prediction": "Prediction", "difference": "Difference"}
_RIGHT, _WRONG = (201, 82, 36), (0, 104, 214)  # BGR; visible on white, on black and with any colour vision


@dataclass(frozen=True)
class Scores:
    """The classes' table: a line for each, the values in the order of columns; the first is also drawn as a bar.

    left_out: the number of best classes that are not listed, if there are very many.
    """

    columns: list[str]
    classes: list[tuple[ClassScore, list[float | None]]]
    unit: str
    left_out: int = 0


@dataclass(frozen=True)
class Cell:
    """text: in the cell. share: of the target's row, 0–1. title: the cell as a sentence."""

    text: str
    share: float
    title: str
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
class Item:
    """An image of a gallery. panes: titles and file names of what it shows. lines: names and texts below it."""

    file: str
    panes: list[tuple[str, str]]
    is_right: bool | None
    lines: list[tuple[str, str]]


@dataclass(frozen=True)
class Gallery:
    key: str
    title: str
    items: list[Item]


@dataclass(frozen=True)
class Predictions:
    """One evaluation. matrix: a row of cells for each class, if there are few; heat_map: otherwise, a data URL."""

    key: str
    title: str
    evaluation: Evaluation
    metrics: list[tuple[str, str]]
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


def predictions(record: Record) -> list[Predictions]:
    return [_predictions(record, entry, f"predictions-{place}") for place, entry in enumerate(record.evaluations)]


def image_names(record: Record) -> Iterator[str]:
    """All images that the page shows, the most telling first."""
    for name in _ORDER:
        for entry in record.evaluations:
            for example in entry.galleries.get(name, []):
                yield from (file for _, file in _panes(example))
        if name == "worst":
            yield from record.augmented


def _predictions(record: Record, entry: Evaluation, key: str) -> Predictions:
    unit = "pixels" if record.task == "segmentation" else "images"
    names = [score.name for score in entry.classes]
    confusion = _square(entry.confusion, len(names))
    small = len(names) <= MOST_IN_TABLE
    after = "" if entry.epoch is None else f", after epoch {entry.epoch}"
    return Predictions(
        key=key,
        title=f"{formatting.capital(entry.split)}{after}",
        evaluation=entry,
        metrics=_metrics(record, entry),
        scores=_scores(entry.classes, unit),
        names=names,
        matrix=_matrix(confusion, names, unit) if confusion is not None and small else None,
        heat_map=heat_map(confusion) if confusion is not None and not small else None,
        pairs=most_confused(confusion, names) if confusion is not None else [],
        bins=_bins(entry.calibration),
        histogram=_histogram(entry.dice_histogram),
        galleries=[
            Gallery(f"{key}-{name}", _title(record, name), [_item(record, example) for example in examples])
            for name in _ORDER
            if (examples := entry.galleries.get(name))
        ],
    )


def _metrics(record: Record, entry: Evaluation) -> list[tuple[str, str]]:
    """Of all classes together, the objective first."""
    names = objective_first(record, [name for name in entry.metrics if not name.startswith(CLASS_METRICS)])
    return [(formatting.heading(name), formatting.number(entry.metrics[name])) for name in names]


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
    """int64 [target, prediction]; None if there is none, or it is not of these classes."""
    if confusion is None or not classes or [len(row) for row in confusion] != [classes] * classes:
        return None
    return np.array(confusion, np.int64)


def _shares(confusion: np.ndarray) -> np.ndarray:
    """Each cell as a share of the target's row, 0–1."""
    return np.asarray(confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1))


def _matrix(confusion: np.ndarray, names: Sequence[str], unit: str) -> list[list[Cell]]:
    shares, count = _shares(confusion), len(names)

    def cell(target: int, predicted: int) -> Cell:
        number, share = int(confusion[target, predicted]), float(shares[target, predicted])
        text = formatting.count(number) if unit == "images" else _percentage(share)
        amount = f"{formatting.count(number)} {unit}, {formatting.share(share)}"
        title = f"{names[target]} predicted as {names[predicted]}: {amount}"
        return Cell(text if number else "", share, title, target == predicted)

    return [[cell(target, predicted) for predicted in range(count)] for target in range(count)]


def _percentage(share: float) -> str:
    """For a narrow cell, whose title has it in full."""
    return "<0.1" if share < 0.0005 else "100" if share >= 0.9995 else f"{100 * share:.1f}"


def heat_map(confusion: np.ndarray) -> str:
    """A matrix of many classes, int64 [target, prediction], as a PNG in a data URL.

    The diagonal is blue, mistakes are orange; the larger their share of the target's row, the more opaque.
    """
    shares, right = _shares(confusion), np.eye(len(confusion), dtype=bool)
    opacity = np.where(confusion > 0, 0.15 + 0.85 * np.sqrt(shares), 0.0)
    diagonal, mistakes = _pooled(opacity * right), _pooled(opacity * ~right)
    colours = np.where((diagonal > mistakes)[..., None], _RIGHT, _WRONG).astype(np.uint8)
    alpha = (15 * np.maximum(diagonal, mistakes)).round().astype(np.uint8) * 17  # few shades: a small file
    _, encoded = cv2.imencode(".png", np.dstack([colours, alpha]), [cv2.IMWRITE_PNG_COMPRESSION, 4])
    return f"data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _pooled(values: np.ndarray) -> np.ndarray:
    """The largest of each block, so that a side has at most `MOST_PIXELS`."""
    step = -(-len(values) // MOST_PIXELS)
    bounds = np.arange(0, len(values), step)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(values, bounds, axis=0), bounds, axis=1))


def most_confused(confusion: np.ndarray, names: Sequence[str], most: int = MOST_PAIRS) -> list[Pair]:
    """Of different classes, the most frequent first. confusion: int64 [target, prediction]."""
    wrong, shares = confusion * ~np.eye(len(confusion), dtype=bool), _shares(confusion)
    places = np.argsort(-wrong, axis=None, kind="stable")[:most]
    found = [divmod(int(place), len(names)) for place in places]
    return [
        Pair(names[target], names[predicted], int(wrong[target, predicted]), float(shares[target, predicted]))
        for target, predicted in found
        if wrong[target, predicted]
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


def _title(record: Record, name: GalleryName) -> str:
    if name == "worst" and record.task == "classification" and not record.multi_label:
        return "Most confident mistakes"
    return formatting.capital(name)


def _item(record: Record, example: Example) -> Item:
    panes = _panes(example)
    if record.task == "segmentation":
        return Item(example.file, panes, None, [("Dice", formatting.number(example.score))])
    lines = [
        ("predicted", _classes(example.predicted, example.probability)),
        ("actual", _classes(example.actual, example.actual_probability)),
    ]
    return Item(example.file, panes, example.is_right, lines)


def _panes(example: Example) -> list[tuple[str, str]]:
    return [(title, file) for name, title in _PANES.items() if (file := getattr(example, name))]


def _classes(names: Sequence[str], probability: float | None) -> str:
    named = ", ".join(names) or "no class"
    return named if probability is None else f"{named}, {formatting.share(probability)}"
