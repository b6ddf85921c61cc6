"""Decoded and resized images with their targets, kept from the first epoch on."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from PIL import __version__ as pillow_version

from byoc_vision.data.cache.store import RecordStore
from byoc_vision.data.preprocessed import DecodedImages, PreprocessedImage, PreprocessedImages
from byoc_vision.data.samples import ByteRange, DrawnMask, MaskSource, Sample, file_of
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo


class Runs(NamedTuple):
    """A mask as runs of equal pixels, in reading order. lengths: uint32 [N]; values: uint8 [N]."""

    lengths: np.ndarray
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.lengths.nbytes + self.values.nbytes


def encode_runs(mask: np.ndarray) -> Runs:
    """The runs of a mask, uint8 [H, W], which has at least one pixel.

    A 1918 × 1280 mask of one object takes 10 KB, and is restored in a tenth of the time that a PNG takes.
    """
    pixels = mask.ravel()
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    return Runs(np.diff(starts, append=pixels.size).astype(np.uint32), pixels[starts])


def decode_runs(runs: Runs, height: int, width: int) -> np.ndarray:
    """The mask, uint8 [height, width]. Raises ValueError if the runs have another number of pixels."""
    return np.repeat(runs.values, runs.lengths).reshape(height, width)


FORMAT_VERSION = 2  # increase it if decoding, resizing or the stored format changes

# Height and width of the stored image, of the original, of the mask (0: none); the mask's runs (0: stored whole).
_SHAPES = struct.Struct("<7I")


@dataclass(frozen=True)
class CachePart:
    """The entries of a store that belong to one split: `count` entries from `first` on."""

    store: RecordStore
    first: int
    count: int


class CachedImages:
    """Samples from the cache, or from their files, and then stored in the cache."""

    def __init__(self, source: DecodedImages, part: CachePart) -> None:
        if part.count != len(source.samples):
            raise ValueError(f"the cache has {part.count} entries for {len(source.samples)} samples")
        self.source = source
        self.part = part

    def read(self, index: int) -> PreprocessedImage:
        """Raises DataError for a sample that is not in the cache and cannot be read."""
        store, entry, sample = self.part.store, self.part.first + index, self.source.samples[index]
        content = store.get(entry, lambda: fingerprint(sample))
        if content is not None:
            return unpack(content, self.source, index)
        if not store.has_room:
            return self.source.read(index)
        before = fingerprint(sample)  # the next job notices a file that changes after this
        preprocessed = self.source.read(index)
        store.put(entry, before, pack(preprocessed))
        return preprocessed


def with_cache(source: DecodedImages, part: CachePart | None) -> PreprocessedImages:
    return source if part is None else CachedImages(source, part)


def pack(sample: PreprocessedImage) -> list[memoryview]:
    """The bytes of a sample, without its label, which is in the list of samples."""
    mask = sample.target if sample.target.ndim == 2 else np.empty((0, 0), np.uint8)
    stored: tuple[np.ndarray, ...] = (mask,) if mask.size else ()
    runs = 0
    if mask.size and (encoded := encode_runs(mask)).nbytes < mask.nbytes:
        stored, runs = encoded, len(encoded.values)
    shapes = _SHAPES.pack(*sample.image.shape[:2], sample.height, sample.width, *mask.shape, runs)
    return [memoryview(shapes), *(np.ascontiguousarray(part).data for part in (*stored, sample.image))]


def unpack(content: np.ndarray, source: DecodedImages, index: int) -> PreprocessedImage:
    """The sample from the bytes that `pack` made, uint8 [bytes]."""
    image_height, image_width, height, width, mask_height, mask_width, runs = _SHAPES.unpack_from(content.data)
    start = _SHAPES.size
    if not mask_height:
        target = source.label(index)
    elif runs:
        lengths = content[start : start + 4 * runs].view(np.uint32)
        target = decode_runs(Runs(lengths, content[start + 4 * runs : start + 5 * runs]), mask_height, mask_width)
        start += 5 * runs
    else:
        target = content[start : start + mask_height * mask_width].reshape(mask_height, mask_width)
        start += mask_height * mask_width
    return PreprocessedImage(content[start:].reshape(image_height, image_width, -1), target, height, width)


def fingerprint(sample: Sample) -> int:
    """64 bits that change with the sample's files: their paths, sizes and times, and what its mask's values mean."""
    state = (
        _file_state(sample.image),
        sample.mask and _file_state(sample.mask),
        sample.mask_map,
        sample.mask_orientation,
        *(_file_state(mask) for mask in sample.further_masks),
        *sample.mask_labels,
    )
    return int.from_bytes(hashlib.blake2b(repr(state).encode(), digest_size=8).digest(), "little")


def _file_state(file: MaskSource) -> tuple[object, ...]:
    path, part = file_of(file), _part(file)
    try:
        status = os.stat(path)
    except OSError:
        return (str(path), *part)  # the error is reported when the file is read
    return (str(path), *part, status.st_size, status.st_mtime_ns)


def _part(file: MaskSource) -> tuple[object, ...]:
    if isinstance(file, ByteRange):
        return file.offset, file.size, file.gaps
    return (file,) if isinstance(file, DrawnMask) else ()


def cache_key(
    splits: Sequence[Sequence[Sample]],
    classes: Sequence[ClassInfo],
    preprocess: Preprocess,
    mask_values: frozenset[int] = frozenset(),
) -> str:
    """The name of a cache: it changes with everything that the entries depend on, except the files' contents."""
    settings = {
        "format": FORMAT_VERSION,
        "decoders": [cv2.__version__, pillow_version],
        "rule": preprocess.model_dump(include={"height", "width", "resize", "short_side", "bands", "per_axis"}),
        "values": [entry.value for entry in classes],
        "mask_values": sorted(mask_values),  # stored masks were checked for these values
        "splits": [len(samples) for samples in splits],
    }
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
    for samples in splits:
        for sample in samples:
            digest.update(f"{_title(sample.image)}\0{sample.mask and _title(sample.mask)}\0".encode())
    return digest.hexdigest()


def _title(file: MaskSource) -> str:
    return f"{file.path}:{file.offset}" if isinstance(file, ByteRange) else str(file)


def bytes_needed(count: int, preprocess: Preprocess, *, masks: bool) -> int:
    """The approximate size of `count` samples, for images with the usual proportions of 4 to 3."""
    pixels = preprocess.height * preprocess.width * preprocess.channels // 3
    if preprocess.short_side is not None:
        pixels = preprocess.short_side**2 * 4 // 3
    return count * int(pixels * (3.1 if masks else 3))
