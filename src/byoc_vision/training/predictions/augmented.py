"""Training images as the model saw them: augmented, with the outline of what the mask says."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np

from byoc_vision.atomic_write import renamed_into_place
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.samplers import SampleKey
from byoc_vision.errors import DataError
from byoc_vision.inference.encoding import encode_jpeg
from byoc_vision.inference.overlay import background_classes
from byoc_vision.report.record import IMAGES_FOLDER
from byoc_vision.training.predictions.thumbnails import JPEG_QUALITY, class_palette, fitting_size, shrunk
from byoc_vision.types import ClassInfo

AUGMENTED = 12
_THICKNESS = 3  # pixels

logger = logging.getLogger(__name__)


def write_augmented(
    folder: Path, dataset: ImageDataset, classes: tuple[ClassInfo, ...], count: int = AUGMENTED
) -> list[str]:
    """Write `count` images of the first epoch, spread evenly over the samples, below pictures/; their file names.

    A sample that cannot be read is passed over: training tells of it. Raises OSError where there is no room.
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
        thumbnail = outlined(image.numpy().transpose(1, 2, 0), target.numpy(), classes)
        with renamed_into_place(folder / IMAGES_FOLDER / names[-1]) as beside:
            beside.write_bytes(encode_jpeg(thumbnail, JPEG_QUALITY))
    return names


def outlined(rgb: np.ndarray, target: np.ndarray, classes: tuple[ClassInfo, ...]) -> np.ndarray:
    """An image, uint8 [H, W, 3], as a thumbnail; with a mask, uint8 [H, W], each class within a line of its colour."""
    drawn = shrunk(rgb, fitting_size(*rgb.shape[:2]))
    if target.ndim != 2:
        return drawn
    labels = cv2.resize(target, drawn.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    edges = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((_THICKNESS, _THICKNESS), np.uint8)) > 0
    edges &= ~np.isin(labels, background_classes(classes))
    drawn[edges] = class_palette(classes)[labels[edges]]
    return drawn
