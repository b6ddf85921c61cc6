"""Images that were answered, beside what is true of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from byoc_vision.report import words
from byoc_vision.report.record import Evaluation, Example, GalleryName, Record

_ORDER: tuple[GalleryName, ...] = ("worst", "random", "best")
_PANES = {"image": "Image", "target": "Target", "prediction": "Prediction", "difference": "Difference"}


@dataclass(frozen=True)
class Item:
    """panes: what it shows and the image's file name. lines: what there is to say."""

    file: str
    panes: list[tuple[str, str]]
    is_right: bool | None
    lines: list[tuple[str, str]]


@dataclass(frozen=True)
class Gallery:
    key: str
    title: str
    items: list[Item]


def galleries(record: Record, entry: Evaluation, key: str) -> list[Gallery]:
    """Those with anything in them."""
    return [
        Gallery(f"{key}-{name}", _title(record, name), [_item(record, example) for example in entry.galleries[name]])
        for name in _ORDER
        if entry.galleries.get(name)
    ]


def image_names(record: Record) -> Iterator[str]:
    """All images that the page shows, the most telling first."""
    for name in _ORDER:
        for entry in record.evaluations:
            yield from _names(entry.galleries.get(name, []))
        if name == "worst":
            yield from record.augmented


def _names(examples: Sequence[Example]) -> Iterator[str]:
    for example in examples:
        for pane in _PANES:
            if image := getattr(example, pane):
                yield image


def _title(record: Record, name: GalleryName) -> str:
    if name == "worst" and record.task == "classification" and not record.multi_label:
        return "Most confident mistakes"
    return words.capital(name)


def _item(record: Record, example: Example) -> Item:
    panes = [(title, getattr(example, name)) for name, title in _PANES.items() if getattr(example, name)]
    if record.task == "segmentation":
        return Item(example.file, panes, None, [("Dice", words.figure(example.score))])
    lines = [
        ("predicted", _classes(example.predicted, example.probability)),
        ("actual", _classes(example.actual, example.actual_probability)),
    ]
    return Item(example.file, panes, example.is_right, lines)


def _classes(names: Sequence[str], probability: float | None) -> str:
    named = ", ".join(names) or "no class"
    return named if probability is None else f"{named}, {words.share(probability)}"
