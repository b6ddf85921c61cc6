"""The predictions for one split, collected while they are evaluated: tables, galleries, and their files."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_args

import numpy as np

from byoc_vision.artifact import ModelConfig
from byoc_vision.atomic_write import renamed_into_place, write_csv
from byoc_vision.data.samples import ByteRange, ImageSource, Sample
from byoc_vision.evaluation.scoring import ScoredPrediction
from byoc_vision.evaluation.task_outputs import TaskOutput, task_output
from byoc_vision.evaluation.thumbnails import Thumbnail, make_thumbnail
from byoc_vision.inference.predictor import Prepared
from byoc_vision.launch.distributed import World, all_gather
from byoc_vision.report.record import (
    CONFUSION_FILE,
    IMAGES_FOLDER,
    PREDICTIONS_FILE,
    TEST_CONFUSION_FILE,
    Evaluation,
    Example,
    GalleryName,
)

CORNER = "actual \\ predicted"
SHOWN = 8  # images in each gallery
GALLERIES: tuple[GalleryName, ...] = get_args(GalleryName)

Place = tuple[GalleryName, int]  # which gallery, and which in it, from 1
ExampleFiles = tuple[Example, dict[str, bytes]]  # an example, and its images by file name
T = TypeVar("T")


@dataclass(frozen=True)
class SplitPredictions:
    """The predictions for one split, as `write_predictions` takes them.

    titles: of the files, in order. rows: of `output`, float32 [N, C]. images: file name below pictures/ → content.
    """

    evaluation: Evaluation
    class_names: tuple[str, ...]
    output: TaskOutput
    titles: tuple[str, ...]
    rows: np.ndarray
    images: Mapping[str, bytes]

    @property
    def columns(self) -> list[str]:
        """The header of `lines`."""
        return ["split", "file", *self.output.columns]

    def lines(self) -> Iterator[list[str]]:
        """A line for each image."""
        for title, row in zip(self.titles, self.rows, strict=True):
            yield [self.evaluation.split, title, *self.output.cells(row)]


class Key(NamedTuple):
    """An image's place in a gallery: the lowest rank comes first; among equals `draw` decides, the same each epoch."""

    rank: float
    draw: int
    title: str
    sample_index: int


class TopExamples(Generic[T]):
    """Of all examples that were added, the `size` first by their keys."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: list[tuple[Key, T]] = []

    def add(self, key: Key, make: Callable[[], T]) -> None:
        """Keep what `make` returns; it is not called if `size` examples come before this one."""
        if len(self._kept) == self.size and (not self.size or key >= self._kept[-1][0]):
            return
        insort(self._kept, (key, make()), key=lambda entry: entry[0])
        del self._kept[self.size :]

    @property
    def keys(self) -> list[Key]:
        """In order, the first one first."""
        return [key for key, _ in self._kept]

    def get(self, key: Key) -> T | None:
        return next((example for own, example in self._kept if own == key), None)


@dataclass(frozen=True)
class _Part:
    """What one process has seen. places: title and sample index of each row. pixels: by target and prediction."""

    places: list[tuple[str, int]]
    rows: np.ndarray | None
    pixels: np.ndarray | None
    keys: dict[GalleryName, list[Key]]


@dataclass(frozen=True)
class _Kept:
    row: np.ndarray
    thumbnail: Thumbnail


class Collector:
    """Of one pass over the images of a split, in one process; `Evaluator.evaluate` adds each prediction.

    It keeps a few numbers for each image, and thumbnails of those that galleries may show.
    samples: what the batches' sample indices count. root: file names are relative to it. seed: of the random gallery,
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
        self._output = task_output(config)
        self._places: list[tuple[str, int]] = []
        self._rows: list[np.ndarray] = []
        self._pixels: np.ndarray | None = None
        self._top: dict[GalleryName, TopExamples[_Kept]] = {name: TopExamples(shown) for name in GALLERIES}

    def add(self, sample_index: int, prepared: Prepared, image: ScoredPrediction) -> None:
        """Add the next image."""
        title = file_title(self.samples[sample_index].image, self.root)
        row = self._output.row(image)
        self._places.append((title, sample_index))
        self._rows.append(row)
        if image.confusion is not None:
            self._pixels = image.confusion + (0 if self._pixels is None else self._pixels)
        draw = random_draw(self.seed, title)
        make = cache(lambda: _Kept(row, make_thumbnail(self.config.preprocess, prepared, image)))
        for name, rank in self._output.ranks(row).items():
            self._top[name].add(Key(rank, draw, title, sample_index), make)

    def gather(self, metrics: Mapping[str, float], world: World, epoch: int | None = None) -> SplitPredictions | None:
        """The predictions of all processes together, in the first process; to be called in each.

        metrics: what `Evaluator.evaluate` returned. epoch: after which.
        """
        keys = {name: top.keys for name, top in self._top.items()}
        rows = np.stack(self._rows) if self._rows else None
        parts = all_gather(_Part(self._places, rows, self._pixels, keys), world)
        shown = self._examples({name: self._winners(name, parts) for name in GALLERIES})
        merged = dict(entry for part in all_gather(shown, world) for entry in part.items())
        return self._merge(parts, merged, metrics, epoch) if world.is_main else None

    def _winners(self, gallery: GalleryName, parts: Sequence[_Part]) -> list[Key]:
        return sorted(key for part in parts for key in part.keys[gallery])[: self.shown]

    def _examples(self, winners: Mapping[GalleryName, Sequence[Key]]) -> dict[Place, ExampleFiles]:
        """Those of the winners that this process has seen."""
        found: dict[Place, ExampleFiles] = {}
        for gallery, keys in winners.items():
            for number, key in enumerate(keys, start=1):
                if kept := self._top[gallery].get(key):
                    found[gallery, number] = self._example(f"{self.split}-{gallery}-{number}", key.title, kept)
        return found

    def _example(self, stem: str, title: str, kept: _Kept) -> ExampleFiles:
        thumbnail = kept.thumbnail
        files = thumbnail.files(self.config.classes)
        fields: dict[str, Any] = {Path(file).stem: f"{stem}-{file}" for file in files}
        fields |= self._output.example_fields(kept.row)
        example = Example(file=title, height=thumbnail.height, width=thumbnail.width, **fields)
        return example, {f"{stem}-{file}": content for file, content in files.items()}

    def _merge(
        self,
        parts: Sequence[_Part],
        shown: Mapping[Place, ExampleFiles],
        metrics: Mapping[str, float],
        epoch: int | None,
    ) -> SplitPredictions:
        titles, rows = _in_order(parts)
        pixels = [part.pixels for part in parts if part.pixels is not None]
        evaluation = Evaluation(
            split=self.split,
            epoch=epoch,
            images=len(rows),
            metrics=dict(metrics),
            galleries={name: [shown[place][0] for place in sorted(shown) if place[0] == name] for name in GALLERIES},
            **self._output.evaluation_fields(rows, np.sum(pixels, axis=0) if pixels else None),
        )
        files = {name: content for _, named in shown.values() for name, content in named.items()}
        return SplitPredictions(evaluation, self.config.class_names, self._output, titles, rows, files)


def file_title(file: ImageSource, root: Path | None = None) -> str:
    """A file's name for people: its path below `root`, or its whole path. Bytes that are not text are escaped."""
    if isinstance(file, ByteRange):
        title = file.title
    else:
        title = str(file.relative_to(root) if root is not None and file.is_relative_to(root) else file)
    return title.encode("utf-8", "backslashreplace").decode()


def random_draw(seed: int, title: str) -> int:
    """A pseudo-random number of seed and title alone: the same in any process, at any time."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{title}".encode(), digest_size=8).digest(), "big")


def _in_order(parts: Sequence[_Part]) -> tuple[tuple[str, ...], np.ndarray]:
    """Titles and rows of all processes by title, so that they do not depend on which process saw which image."""
    places = [place for part in parts for place in part.places]
    rows = np.concatenate([part.rows for part in parts if part.rows is not None])
    order = sorted(range(len(places)), key=places.__getitem__)
    return tuple(places[index][0] for index in order), rows[order]


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
        with renamed_into_place(folder / name) as beside:
            beside.write_bytes(content)
    for path in folder.glob(f"{split.evaluation.split}-*"):
        if path.name not in split.images:
            path.unlink()
