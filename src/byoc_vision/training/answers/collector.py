"""Looks on while labelled images are answered, and tells what they were answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.samples import ByteRange, ImageSource, Sample
from byoc_vision.inference.predictor import Prepared
from byoc_vision.report.record import Evaluation, Example, GalleryName
from byoc_vision.training.answers.gallery import Key, Shelf, drawn
from byoc_vision.training.answers.judging import Answered
from byoc_vision.training.answers.kinds import Kind, kind_of
from byoc_vision.training.answers.thumbnails import Thumbnail, make_thumbnail
from byoc_vision.training.distributed import World, gathered

SHOWN = 8  # images in each gallery
GALLERIES: tuple[GalleryName, ...] = get_args(GalleryName)

Place = tuple[GalleryName, int]  # which gallery, and which in it, from 1
Shown = tuple[Example, dict[str, bytes]]  # and its images' files


@dataclass(frozen=True)
class Collected:
    """What images were answered, to be written by `write_answers`.

    titles: of the files, in order. rows: of `kind`, float32 [N, C]. images: file name below pictures/ → content.
    """

    evaluation: Evaluation
    class_names: tuple[str, ...]
    kind: Kind
    titles: tuple[str, ...]
    rows: np.ndarray
    images: Mapping[str, bytes]

    @property
    def columns(self) -> list[str]:
        """The header of `lines`."""
        return ["split", "file", *self.kind.columns]

    def lines(self) -> Iterator[list[str]]:
        """A line for each image."""
        for title, row in zip(self.titles, self.rows, strict=True):
            yield [self.evaluation.split, title, *self.kind.cells(row)]


@dataclass(frozen=True)
class _Part:
    """What one process has seen. places: file title and sample index of each row. pixels: by target and answer."""

    places: list[tuple[str, int]]
    rows: np.ndarray | None
    pixels: np.ndarray | None
    keys: dict[GalleryName, list[Key]]


@dataclass(frozen=True)
class _Kept:
    row: np.ndarray
    thumbnail: Thumbnail


class Collector:
    """Of one pass over the images of a split, in one process; `Evaluator.evaluate` shows it each answer.

    It keeps some numbers an image, and thumbnails of those that galleries may show.
    samples: what the batches' sample indices count. root: what file names are told from. seed: of the random gallery,
    which shows the same images in each epoch. shown: images in each gallery.
    """

    def __init__(
        self,
        config: ModelConfig,
        samples: Sequence[Sample],
        split: str,
        seed: int = 0,
        *,
        root: Path | None = None,
        shown: int = SHOWN,
    ) -> None:
        self.config = config
        self.samples = samples
        self.split = split
        self.seed = seed
        self.root = root
        self.shown = shown
        self._kind = kind_of(config)
        self._places: list[tuple[str, int]] = []
        self._rows: list[np.ndarray] = []
        self._pixels: np.ndarray | None = None
        self._shelves: dict[GalleryName, Shelf[_Kept]] = {name: Shelf(shown) for name in GALLERIES}

    def add(self, sample_index: int, prepared: Prepared, image: Answered) -> None:
        """Look at the next image."""
        title = file_title(self.samples[sample_index].image, self.root)
        row = self._kind.row(image)
        self._places.append((title, sample_index))
        self._rows.append(row)
        if image.confusion is not None:
            self._pixels = image.confusion + (0 if self._pixels is None else self._pixels)
        draw = drawn(self.seed, title)
        make = cache(lambda: _Kept(row, make_thumbnail(self.config.preprocess, prepared, image)))
        for name, rank in self._kind.ranks(row).items():
            self._shelves[name].put(Key(rank, draw, title, sample_index), make)

    def collected(self, figures: Mapping[str, float], world: World, epoch: int | None = None) -> Collected | None:
        """What all processes have seen together, in the first of them; to be called in each.

        figures: what `Evaluator.evaluate` gave. epoch: after which.
        """
        keys = {name: shelf.keys for name, shelf in self._shelves.items()}
        rows = np.stack(self._rows) if self._rows else None
        parts = gathered(_Part(self._places, rows, self._pixels, keys), world)
        shown = self._examples({name: self._winners(name, parts) for name in GALLERIES})
        merged = dict(entry for part in gathered(shown, world) for entry in part.items())
        return self._together(parts, merged, figures, epoch) if world.is_first else None

    def _winners(self, gallery: GalleryName, parts: Sequence[_Part]) -> list[Key]:
        return sorted(key for part in parts for key in part.keys[gallery])[: self.shown]

    def _examples(self, winners: Mapping[GalleryName, Sequence[Key]]) -> dict[Place, Shown]:
        """Those of the winners that this process has seen."""
        found: dict[Place, Shown] = {}
        for gallery, keys in winners.items():
            for number, key in enumerate(keys, start=1):
                if kept := self._shelves[gallery].get(key):
                    found[gallery, number] = self._example(f"{self.split}-{gallery}-{number}", key.title, kept)
        return found

    def _example(self, stem: str, title: str, kept: _Kept) -> Shown:
        thumbnail = kept.thumbnail
        files = thumbnail.files(self.config.classes)
        fields: dict[str, Any] = {Path(file).stem: f"{stem}-{file}" for file in files} | self._kind.told(kept.row)
        example = Example(file=title, height=thumbnail.height, width=thumbnail.width, **fields)
        return example, {f"{stem}-{file}": content for file, content in files.items()}

    def _together(
        self, parts: Sequence[_Part], shown: Mapping[Place, Shown], figures: Mapping[str, float], epoch: int | None
    ) -> Collected:
        titles, rows = _in_order(parts)
        pixels = [part.pixels for part in parts if part.pixels is not None]
        evaluation = Evaluation(
            split=self.split,
            epoch=epoch,
            images=len(rows),
            figures=dict(figures),
            galleries={name: [shown[place][0] for place in sorted(shown) if place[0] == name] for name in GALLERIES},
            **self._kind.summary(rows, np.sum(pixels, axis=0) if pixels else None),
        )
        files = {name: content for _, named in shown.values() for name, content in named.items()}
        return Collected(evaluation, self.config.class_names, self._kind, titles, rows, files)


def file_title(file: ImageSource, root: Path | None = None) -> str:
    """What people call a file: its path below `root`, or whole. Bytes that are no text are told as such."""
    if isinstance(file, ByteRange):
        title = file.title
    else:
        title = str(file.relative_to(root) if root is not None and file.is_relative_to(root) else file)
    return title.encode("utf-8", "backslashreplace").decode()


def _in_order(parts: Sequence[_Part]) -> tuple[tuple[str, ...], np.ndarray]:
    """Titles and rows of all processes by title: so however many they are, and whatever each has seen."""
    places = [place for part in parts for place in part.places]
    rows = np.concatenate([part.rows for part in parts if part.rows is not None])
    order = sorted(range(len(places)), key=places.__getitem__)
    return tuple(places[index][0] for index in order), rows[order]
