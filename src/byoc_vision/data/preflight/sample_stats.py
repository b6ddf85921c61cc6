"""What is kept of one sample after its files were read: a few numbers, no pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from byoc_vision.data.decoding import read_content, read_image
from byoc_vision.data.samples import Sample
from byoc_vision.data.targets import read_mask_values, size_problem
from byoc_vision.errors import DataError

DIGEST_BYTES = 16
# Channel statistics come from so many rows and columns of an image. Pixels are picked, not averaged: averaging would
# narrow their spread.
PROBE_SIDE = 32


class Fault(NamedTuple):
    """A sample that cannot be used, and why."""

    sample: Sample
    problem: str


class MaskFacts(NamedTuple):
    """The values that occur in a mask, ascending, and the number of pixels of each."""

    values: tuple[int, ...]
    pixels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """One sample that can be read.

    height, width: of the upright image. digest: BLAKE2b of the image file's bytes.
    mean, std: of each channel, float64 [3], 0–255.
    darkest, brightest: values over all channels, 0–255. is_two_tone: there are no others.
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
    mask: MaskFacts | None = None


def digest(data: bytes) -> bytes:
    """What tells the contents of two files apart: BLAKE2b, 16 bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def examine(sample: Sample) -> Facts | Fault:
    """Read the image once: its bytes are hashed and decoded. Then its mask, where it has one."""
    try:
        content = read_content(sample.image)
        image = read_image(content)
        mask = None if sample.mask is None else read_mask_values(sample)
    except DataError as error:
        return Fault(sample, str(error))
    height, width = image.shape[:2]
    if mask is not None and mask.shape != (height, width):
        return Fault(sample, size_problem(sample, (height, width), mask.shape))
    probe = cv2.resize(image, (PROBE_SIDE, PROBE_SIDE), interpolation=cv2.INTER_NEAREST)
    mean, std = cv2.meanStdDev(probe)
    darkest, brightest, _, _ = cv2.minMaxLoc(probe.reshape(PROBE_SIDE, -1))
    return Facts(
        sample,
        height,
        width,
        digest(content.data),
        mean.ravel(),
        std.ravel(),
        int(darkest),
        int(brightest),
        bool(((probe == darkest) | (probe == brightest)).all()),
        _is_grey(probe, mean),
        None if mask is None else _mask_facts(mask),
    )


def _is_grey(image: np.ndarray, mean: np.ndarray) -> bool:
    if not mean[0] == mean[1] == mean[2]:  # spares most images the comparison
        return False
    return bool((image == image[:, :, :1]).all())


def _mask_facts(mask: np.ndarray) -> MaskFacts:
    # Most masks hold two values at the most: two comparisons count them in a fraction of a histogram's time.
    extremes = sorted({int(value) for value in cv2.minMaxLoc(mask)[:2]})
    counts = [cv2.countNonZero(cv2.inRange(mask, value, value)) for value in extremes]
    if sum(counts) == mask.size:
        return MaskFacts(tuple(extremes), tuple(counts))
    histogram = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    values = np.flatnonzero(histogram)
    return MaskFacts(tuple(values.tolist()), tuple(histogram[values].tolist()))
