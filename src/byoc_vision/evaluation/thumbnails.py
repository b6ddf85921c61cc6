"""Small images to show, with their masks at the same size: of predictions, and of augmented training images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from byoc_vision.atomic_write import renamed_into_place
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.samplers import SampleKey
from byoc_vision.errors import DataError
from byoc_vision.evaluation.scoring import ScoredPrediction
from byoc_vision.inference.difference import difference, difference_palette
from byoc_vision.inference.encoding import encode_jpeg, encode_png
from byoc_vision.inference.overlay import background_classes, class_colours
from byoc_vision.inference.predictor import Prepared, Segmentation
from byoc_vision.preprocess import IGNORED, Preprocess, as_rgb
from byoc_vision.report.images import fit_within
from byoc_vision.report.record import IMAGES_FOLDER
from byoc_vision.types import ClassInfo

AUGMENTED = 12  # images that a job shows
LONG_SIDE = 320  # pixels
JPEG_QUALITY = 85
_NOT_COUNTED = (128, 128, 128)
_OUTLINE = 3  # pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thumbnail:
    """An image, uint8 RGB [h, w, 3], and for segmentation the class indices, uint8 [h, w].

    height, width: of the image itself, in pixels.
    """

    rgb: np.ndarray
    height: int
    width: int
    target: np.ndarray | None = None
    labels: np.ndarray | None = None

    def files(self, classes: Sequence[ClassInfo]) -> dict[str, bytes]:
        """Its files: `picture.jpg` and, for segmentation, `truth.png`, `prediction.png` and `difference.png`."""
        files = {"picture.jpg": encode_jpeg(self.rgb, JPEG_QUALITY)}
        if self.target is not None and self.labels is not None:
            palette = class_palette(classes)
            kinds = difference(self.labels, self.target, background_classes(classes))
            files["truth.png"] = encode_png(self.target, palette)
            files["prediction.png"] = encode_png(self.labels, palette)
            files["difference.png"] = encode_png(kinds, difference_palette())
        return files


def make_thumbnail(rule: Preprocess, prepared: Prepared, image: ScoredPrediction) -> Thumbnail:
    """What the model saw, in the image's proportions; with `short_side` the part that is not cropped."""
    height, width = prepared.height, prepared.width
    window = rule.window(height, width)
    seen = as_rgb(prepared.pixels)[window.top : window.top + window.height, window.left : window.left + window.width]
    size = fit_within(seen.shape if rule.resize == "short_side" else (height, width), LONG_SIDE)
    if not isinstance(image.prediction, Segmentation):
        return Thumbnail(shrunk(seen, size), height, width)
    target, labels = (_nearest(mask, size) for mask in (image.target, image.prediction.labels))
    return Thumbnail(shrunk(seen, size), height, width, target, labels)


def write_augmented(
    folder: Path, dataset: ImageDataset, classes: tuple[ClassInfo, ...], count: int = AUGMENTED
) -> list[str]:
    """Write `count` images of the first epoch, spread evenly over the samples, below pictures/; returns file names.

    A sample that cannot be read is left out; training reports it. Raises OSError if the disk is full.
    """
    (folder / IMAGES_FOLDER).mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int)).tolist():
        try:
            image, target = dataset[SampleKey(index, epoch=1)]
        except DataError as error:
            logger.debug("%s", error)
            continue
        names.append(f"augmented-{len(names) + 1}.jpg")
        thumbnail = outlined(as_rgb(image.numpy().transpose(1, 2, 0)), target.numpy(), classes)
        with renamed_into_place(folder / IMAGES_FOLDER / names[-1]) as beside:
            beside.write_bytes(encode_jpeg(thumbnail, JPEG_QUALITY))
    return names


def outlined(rgb: np.ndarray, target: np.ndarray, classes: tuple[ClassInfo, ...]) -> np.ndarray:
    """An image, uint8 [H, W, 3], as a thumbnail; with a mask, uint8 [H, W], each class is outlined in its colour."""
    drawn = shrunk(rgb, fit_within(rgb.shape, LONG_SIDE))
    if target.ndim != 2:
        return drawn
    labels = _nearest(target, (drawn.shape[0], drawn.shape[1]))
    edges = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((_OUTLINE, _OUTLINE), np.uint8)) > 0
    edges &= ~np.isin(labels, background_classes(classes))
    drawn[edges] = class_palette(classes)[labels[edges]]
    return drawn


def shrunk(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A copy in this height and width, so that the large image need not stay in memory."""
    smaller = size[0] < rgb.shape[0] or size[1] < rgb.shape[1]
    return _resized(rgb, size, cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def class_palette(classes: Sequence[ClassInfo]) -> np.ndarray:
    """The colour of each class index, uint8 [256, 3] RGB: those of an overlay, black for the background."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(classes)] = class_colours(len(classes))
    palette[list(background_classes(classes))] = 0
    palette[IGNORED] = _NOT_COUNTED
    return palette


def _nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return _resized(mask, size, cv2.INTER_NEAREST_EXACT)


def _resized(pixels: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=interpolation).copy()
