"""Cuts large images and their masks into overlapping tiles, as channels for `train`.

One image is in memory at a time. What the values of masks mean is decided on the whole masks, since a tile of a mask
may look like a mask of another kind: of 0, 1 and 255 to ignore, one tile shows 0 and 1 and another 0 and 255.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from byoc_vision.atomic_write import check_new_folder
from byoc_vision.data.channel_writer import file_stems, write_classes
from byoc_vision.data.decoding import MAX_PIXELS, read_content, read_image
from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight import check
from byoc_vision.data.preflight.scan import TILE_IT
from byoc_vision.data.prepare import next_steps, publish, scratch_beside
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError, InputError
from byoc_vision.progress import Progress
from byoc_vision.system.machine import available_cores
from byoc_vision.system.memory import free_memory

LARGEST_PIXELS = 2**30 - 1  # that OpenCV decodes
_BYTES_PER_PIXEL = 12  # of an image as it is stored, as RGB and turned upright, and of its mask
_BACKGROUND = 0
_TOO_LARGE = (
    "that is what the free memory of this machine holds; use a larger machine, or cut it with a tool that reads parts "
    "of files, such as gdal_translate -srcwin"
)
_SMALL = [cv2.IMWRITE_PNG_COMPRESSION, 1]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TileOptions:
    """size: the longer side of a tile in pixels. overlap: of two neighbours at the least, in pixels.

    keep_empty: also training tiles without any object.
    """

    size: int = 1024
    overlap: int = 128
    keep_empty: bool = False

    def __post_init__(self) -> None:
        """Raises InputError."""
        if self.size < 32:
            raise InputError(f"--size {self.size} is too small; tiles have at least 32 pixels")
        if not 0 <= self.overlap < self.size:
            raise InputError(f"--overlap {self.overlap} must be from 0 to below --size {self.size}")


class _Tile(NamedTuple):
    image: np.ndarray
    mask: np.ndarray
    stem: str


class Counts(NamedTuple):
    """Tiles that were written, and those that were left out because they show no object."""

    written: int
    empty: int


def tile(channels: Mapping[str, Path], output: Path, options: DataOptions, tiles: TileOptions) -> dict[str, Counts]:
    """Write the images of `channels` as tiles to the new folder `output`: SPLIT/ and SPLIT_annotation/, as PNG.

    The splits are those of the whole images: no tile of a training image is a validation tile. Empty tiles are left
    out of the training split; validation and test keep all, so that their metrics are those of the whole images.

    Returns:
        The number of tiles by split.

    Raises:
        InputError: the data are not a segmentation, or `output` is not empty.
        DataError: an image or a mask cannot be used, or is larger than the free memory allows.
        ResourceError: the disk is full.
    """
    check_new_folder(output)
    dataset = find_dataset(channels, options)
    if dataset.task != "segmentation":
        raise InputError(
            "tile is for segmentation: a part of an image may not show the class of the whole. For classification make "
            "the images smaller, to twice image_size at the most"
        )
    counts: dict[str, Counts] = {}
    most = _most_pixels()
    with scratch_beside(output) as scratch:
        dataset, folder = _checked(dataset, options, most), scratch / "channels"
        with Progress("tiling", sum(map(len, dataset.splits.values()))) as progress:
            for split, samples in dataset.splits.items():
                kept = tiles.keep_empty or split != "train"
                counts[split] = _write_split(dataset, samples, folder / split, tiles, kept, most, progress)
        if not counts["train"].written:
            raise DataError(
                f"no training tile shows an object: all pixels of {len(dataset.train)} masks are {_BACKGROUND} or "
                "ignored. Check the masks, or keep such tiles with --keep-empty"
            )
        publish(folder, output)
    for line in _said(dataset, output, counts):
        logger.info(line)
    return counts


def tile_starts(length: int, size: int, overlap: int) -> list[int]:
    """The first pixel of each tile along a side, evenly spread; a side that is shorter than a tile has one."""
    if length <= size:
        return [0]
    steps = ceil((length - size) / (size - overlap))
    return [round(index * (length - size) / steps) for index in range(steps + 1)]


def _write_split(
    dataset: Dataset,
    samples: Sequence[Sample],
    channel: Path,
    tiles: TileOptions,
    keep_empty: bool,
    most: int,
    progress: Progress,
) -> Counts:
    masks = channel.with_name(f"{channel.name}_annotation")
    channel.mkdir(parents=True)
    masks.mkdir()
    written = empty = 0
    nothing = [_BACKGROUND, *([] if dataset.ignore_value is None else [dataset.ignore_value])]
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="tile") as pool:
        for sample, stem in zip(samples, file_stems([sample.image for sample in samples]), strict=True):
            image, mask = _read(sample, most)
            found = list(_cut(image, mask, stem, tiles))
            kept = found if keep_empty else [one for one in found if not np.isin(one.mask, nothing).all()]
            list(pool.map(lambda one: _write(one, channel, masks), kept))
            written, empty = written + len(kept), empty + len(found) - len(kept)
            progress.update(note=f"tiles={written}")
    write_classes(dataset, channel)
    return Counts(written, empty)


def _checked(dataset: Dataset, options: DataOptions, most: int) -> Dataset:
    """With the classes that the whole masks show, as the check before training finds them. One image at a time."""
    total = sum(map(len, dataset.splits.values()))
    try:
        return check(dataset, replace(options, checked_pictures=total), workers=1, max_pixels=most).dataset
    except DataError as error:
        raise DataError(str(error).replace(TILE_IT, _TOO_LARGE)) from error


def _most_pixels() -> int:
    """Of an image, since there is one in memory at a time."""
    free = free_memory()
    return LARGEST_PIXELS if free is None else max(MAX_PIXELS, min(LARGEST_PIXELS, free // _BYTES_PER_PIXEL))


def _read(sample: Sample, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The image, uint8 [H, W, 3], and its mask, uint8 [H, W]."""
    content = read_content(sample.image)
    image = read_image(content, max_pixels=most)
    return image, read_mask_values(sample, size=image.shape[:2], image=content, max_pixels=most)


def _cut(image: np.ndarray, mask: np.ndarray, stem: str, tiles: TileOptions) -> Iterator[_Tile]:
    """Views of the image and its mask, which take no memory."""
    height, width = mask.shape
    for top in tile_starts(height, tiles.size, tiles.overlap):
        for left in tile_starts(width, tiles.size, tiles.overlap):
            part = np.s_[top : top + tiles.size, left : left + tiles.size]
            yield _Tile(image[part], mask[part], f"{stem}_y{top:05}_x{left:05}")


def _write(one: _Tile, images: Path, masks: Path) -> None:
    for folder, pixels in ((images, cv2.cvtColor(one.image, cv2.COLOR_RGB2BGR)), (masks, one.mask)):
        written, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), _SMALL)
        assert written, "OpenCV encodes every uint8 array as PNG"
        (folder / f"{one.stem}.png").write_bytes(encoded.tobytes())


def _said(dataset: Dataset, output: Path, counts: Mapping[str, Counts]) -> Iterator[str]:
    for split, count in counts.items():
        left_out = f", {count.empty:,} without an object left out" if count.empty else ""
        yield f"{split}: {len(dataset.splits[split]):,} images → {count.written:,} tiles{left_out}"
    yield next_steps(dataset, output)[1]
    yield f"train on it without Docker: byoc-vision train {os.path.relpath(output)}"
