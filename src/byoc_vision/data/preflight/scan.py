"""Reads samples in parallel and keeps a few numbers of each, no pixels."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from byoc_vision.colours import join
from byoc_vision.data.bands import read_pixels, size_of
from byoc_vision.data.decoding import (
    MAX_PIXELS,
    ImageTooLarge,
    OpenedImage,
    open_mask,
    orientation_of,
    palette_of,
    read_content,
)
from byoc_vision.data.fileformat import is_lossy
from byoc_vision.data.mask_colours import MOST_COLOURS, count_colours, too_many_colours
from byoc_vision.data.samples import ByteRange, DrawnMask, MaskSource, Sample
from byoc_vision.data.targets import read_mask_pixels, read_mask_values, size_problem
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Band, with_bands
from byoc_vision.progress import Progress
from byoc_vision.system.machine import available_cores

DIGEST_BYTES = 16
# Channel statistics come from a grid of this many rows and columns of pixels. Pixels are picked, not averaged:
# averaging would narrow their spread.
PROBE_SIDE = 32
TILE_IT = "cut it into tiles: byoc-vision tile"


class InvalidSample(NamedTuple):
    """A sample that cannot be used, and why."""

    sample: Sample
    problem: str


IS_COLOUR = 1 << 24


def colour_of(value: int) -> int:
    """0xRRGGBB of a value in `MaskStats`: a colour, or a grey level."""
    return value & ~IS_COLOUR if value >= IS_COLOUR else join(value, value, value)


class MaskStats(NamedTuple):
    """The values that occur in a mask, ascending, and the number of pixels of each.

    The colours of a mask whose classes are not known yet are `IS_COLOUR | 0xRRGGBB`.
    """

    values: tuple[int, ...]
    pixels: tuple[int, ...]

    @property
    def counts(self) -> dict[int, int]:
        """Value → pixels."""
        return dict(zip(self.values, self.pixels, strict=True))

    def mapped(self, label_of: Mapping[int, int]) -> MaskStats:
        """As if the mask held the labels of its values."""
        pixels: Counter[int] = Counter()
        for value, count in self.counts.items():
            pixels[label_of[value]] += count
        return MaskStats(tuple(sorted(pixels)), tuple(pixels[value] for value in sorted(pixels)))


@dataclass(frozen=True, slots=True)
class SampleStats:
    """The statistics of one readable sample.

    height, width: of the upright image, in pixels. digest: BLAKE2b of the image file's bytes.
    mean, std: of each channel, float64 [3] or of bands, 0–255.
    darkest, brightest: over all channels, 0–255. is_two_tone: the image has no other values than these two.
    has_lossy_mask: the mask's file is compressed with loss, so its values are not those that were drawn.
    palette: the colours of the mask's values, 0xRRGGBB, if its file has a palette.
    is_turned_unclearly: EXIF turns the image so that its size does not tell whether its mask must be turned, too.
    """

    sample: Sample
    height: int
    width: int
    digest: bytes
    mean: np.ndarray
    std: np.ndarray
    darkest: int
    brightest: int
    is_two_tone: bool
    is_grey: bool
    mask: MaskStats | None = None
    has_lossy_mask: bool = False
    palette: tuple[int, ...] = ()
    is_turned_unclearly: bool = False

    @property
    def counts(self) -> dict[int, int]:
        """Value → pixels of the mask; empty without one."""
        return self.mask.counts if self.mask else {}


def digest(data: bytes) -> bytes:
    """The hash by which file contents are compared: BLAKE2b, 16 bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def measure_sample(
    sample: Sample, bands: Sequence[Band] = (), max_pixels: int = MAX_PIXELS
) -> SampleStats | InvalidSample:
    """Read the image once, hash and decode its bytes; then read its mask, if it has one."""
    try:
        content = read_content(sample.image)
        image = read_pixels(content, bands, max_pixels=max_pixels)
        height, width = image.shape[:2]
        stored = open_mask(sample.mask, max_pixels=max_pixels) if isinstance(sample.mask, Path | ByteRange) else None
        size = height, width
        mask = None if sample.mask is None else read_mask_pixels(sample, stored, size, content, max_pixels=max_pixels)
        if mask is not None and mask.shape[:2] != size:
            raise DataError(size_problem(sample, size, mask.shape))
        mask_stats = None if mask is None else _mask_stats(mask) if mask.ndim == 2 else _colour_stats(sample, mask)
    except ImageTooLarge as error:
        remedy = TILE_IT if sample.mask else "make it smaller"
        return InvalidSample(sample, f"{str(error).rpartition(';')[0]}; {remedy}")
    except DataError as error:
        return InvalidSample(sample, str(error))
    probe = with_bands(cv2.resize(image, (PROBE_SIDE, PROBE_SIDE), interpolation=cv2.INTER_NEAREST), image)
    mean, std = probe.mean(axis=(0, 1)), probe.std(axis=(0, 1))
    darkest, brightest, _, _ = cv2.minMaxLoc(probe.reshape(PROBE_SIDE, -1))
    return SampleStats(
        sample,
        height,
        width,
        digest(content.data),
        mean,
        std,
        int(darkest),
        int(brightest),
        bool(((probe == darkest) | (probe == brightest)).all()),
        _is_grey(probe, mean),
        mask_stats,
        stored is not None and is_lossy(stored.data),
        _palette(stored, mask_stats) if sample.mask_map is None else (),
        mask is not None and sample.mask_orientation == "auto" and _is_unclear(orientation_of(content), height, width),
    )


def _palette(stored: OpenedImage | None, mask: MaskStats | None) -> tuple[int, ...]:
    colours = palette_of(stored) if stored is not None and mask is not None else None
    if colours is None or mask is None or mask.values[-1] >= len(colours):
        return ()
    used = tuple(colours[list(mask.values)].tolist())
    return used if len(set(used)) == len(used) else ()  # one colour for several values tells nothing


def _is_unclear(orientation: int, height: int, width: int) -> bool:
    return orientation in (2, 3, 4) or (orientation >= 5 and height == width)


def _is_grey(image: np.ndarray, mean: np.ndarray) -> bool:
    if len(mean) != 3 or not mean[0] == mean[1] == mean[2]:  # most images are decided here, without the comparison
        return False
    return bool((image == image[:, :, :1]).all())


def _mask_stats(mask: np.ndarray) -> MaskStats:
    # Most masks hold at most two values, and two comparisons are much faster than a histogram.
    extremes = sorted({int(value) for value in cv2.minMaxLoc(mask)[:2]})
    counts = [cv2.countNonZero(cv2.inRange(mask, value, value)) for value in extremes]
    if sum(counts) == mask.size:
        return MaskStats(tuple(extremes), tuple(counts))
    histogram = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    values = np.flatnonzero(histogram)
    return MaskStats(tuple(values.tolist()), tuple(histogram[values].tolist()))


def _colour_stats(sample: Sample, mask: np.ndarray) -> MaskStats:
    """Raises DataError for more colours than classes can have."""
    colours, pixels = count_colours(mask)
    if len(colours) > MOST_COLOURS:
        raise DataError(too_many_colours(f"{sample.mask} holds", len(colours)))
    return MaskStats(tuple((colours | IS_COLOUR).tolist()), tuple(pixels.tolist()))


Item = TypeVar("Item")
Result = TypeVar("Result")


class MaskValues:
    """The values of each mask. There are many masks and few different sets of values, so the sets are shared."""

    def __init__(self) -> None:
        self._masks: dict[str, list[tuple[MaskSource, tuple[int, ...]]]] = {}
        self._sets: dict[tuple[int, ...], tuple[int, ...]] = {}

    def add(self, split: str, mask: MaskSource, values: tuple[int, ...]) -> None:
        self._masks.setdefault(split, []).append((mask, self._sets.setdefault(values, values)))

    def of(self, *splits: str) -> list[int]:
        """All values of these splits, or of all, sorted."""
        return sorted({value for _, values in self.masks(*splits) for value in values})

    def masks(self, *splits: str) -> list[tuple[MaskSource, tuple[int, ...]]]:
        return [entry for split in (splits or self._masks) for entry in self._masks.get(split, [])]

    @property
    def combinations(self) -> list[tuple[int, ...]]:
        """The different sets of values that occur."""
        return list(self._sets)


@dataclass
class ScanResult:
    """What reading found, by split and in the order of the samples: statistics of the valid ones, and the others."""

    stats: dict[str, list[SampleStats]] = field(default_factory=dict)
    invalid: dict[str, list[InvalidSample]] = field(default_factory=dict)

    @property
    def all_stats(self) -> list[SampleStats]:
        return [stats for split in self.stats.values() for stats in split]

    @property
    def all_invalid(self) -> list[InvalidSample]:
        return [bad for split in self.invalid.values() for bad in split]

    def checked(self, split: str) -> int:
        return len(self.stats[split]) + len(self.invalid[split])

    def mask_values(self) -> MaskValues:
        values = MaskValues()
        for split, seen in self.stats.items():
            for stats in seen:
                if stats.mask is not None and stats.sample.mask is not None:
                    values.add(split, stats.sample.mask, stats.mask.values)
        return values

    def mark_invalid(self, problems: Mapping[MaskSource | None, str]) -> None:
        """Move the samples of these masks to the invalid ones. problems: mask → what is wrong."""
        if not problems:
            return
        for split, seen in self.stats.items():
            bad = [
                InvalidSample(stats.sample, problems[stats.sample.mask])
                for stats in seen
                if stats.sample.mask in problems
            ]
            self.invalid[split] += bad
            self.stats[split] = [stats for stats in seen if stats.sample.mask not in problems]


def scan_samples(
    splits: Mapping[str, Sequence[Sample]],
    workers: int | None = None,
    *,
    seconds: float = math.inf,
    bands: Sequence[Band] = (),
    max_pixels: int = MAX_PIXELS,
) -> ScanResult:
    """Read the samples in threads (decoders release the GIL).

    workers: threads; by default the cores of this machine. seconds: after these no further samples are started.
    max_pixels: of an image, as for `read_image`.
    """
    seen = ScanResult()
    deadline = time.monotonic() + seconds
    total = sum(len(samples) for samples in splits.values())
    threads = workers or available_cores()
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="preflight") as pool,
        Progress("checking", total) as progress,
    ):
        for split, samples in splits.items():
            in_time = takewhile(lambda _: time.monotonic() < deadline, samples)
            stats, invalid = seen.stats.setdefault(split, []), seen.invalid.setdefault(split, [])
            for outcome in _in_order(
                pool, partial(measure_sample, bands=bands, max_pixels=max_pixels), in_time, ahead=4 * threads
            ):
                if isinstance(outcome, InvalidSample):
                    invalid.append(outcome)
                else:
                    stats.append(outcome)
                progress.update()
    return seen


@dataclass
class MaskCounts:
    """What masks hold.

    images: of each value the masks that hold it. pixels: of each value. problems: why masks cannot be read.
    """

    read: int = 0
    images: Counter[int] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __add__(self, other: MaskCounts) -> MaskCounts:
        return MaskCounts(
            self.read + other.read,
            self.images + other.images,
            self.pixels + other.pixels,
            [*self.problems, *other.problems],
        )


def count_masks(samples: Sequence[Sample], workers: int | None = None) -> MaskCounts:
    """Read the masks of these samples, not their images, in threads.

    workers: threads; by default the cores of this machine.
    """
    counts = MaskCounts()
    threads = workers or available_cores()
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="masks") as pool,
        Progress("counting masks", len(samples)) as progress,
    ):
        for outcome in _in_order(pool, _measure_mask, samples, ahead=4 * threads):
            if isinstance(outcome, str):
                counts.problems.append(outcome)
            else:
                counts.read += 1
                counts.images.update(outcome.values)
                counts.pixels.update(outcome.counts)
            progress.update()
    return counts


def _measure_mask(sample: Sample) -> MaskStats | str:
    """The mask's values, or why it cannot be read."""
    try:
        size = size_of(sample.image) if isinstance(sample.mask, DrawnMask) else None
        return _mask_stats(read_mask_values(sample, size=size))
    except DataError as error:
        return str(error)


def merge_scans(parts: Sequence[ScanResult], splits: Mapping[str, Sequence[Sample]]) -> ScanResult:
    """The results of several hosts that read parts of these splits, as if one host had read all samples."""
    whole = ScanResult()
    for split, samples in splits.items():
        place = {sample: index for index, sample in enumerate(samples)}
        stats = [one for part in parts for one in part.stats.get(split, [])]
        invalid = [one for part in parts for one in part.invalid.get(split, [])]
        whole.stats[split] = sorted(stats, key=lambda one: place[one.sample])
        whole.invalid[split] = sorted(invalid, key=lambda one: place[one.sample])
    return whole


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Like `pool.map`, with at most `ahead` items in progress."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
