from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from support.predictions import card_of, coloured_images, masked_images

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.samplers import SampleKey
from byoc_vision.data.samples import Sample
from byoc_vision.evaluation.scoring import ScoredPrediction
from byoc_vision.evaluation.thumbnails import (
    LONG_SIDE,
    class_palette,
    make_thumbnail,
    outlined,
    write_augmented,
)
from byoc_vision.inference.predictor import Classification, Prepared, Segmentation
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo

CLASSES = (ClassInfo(name="road", value=0), ClassInfo(name="car", value=1))


def test_of_an_image_of_8000_pixels_little_is_kept() -> None:
    rule = Preprocess(height=64, width=64, resize="letterbox")
    mask = np.zeros((6000, 8000), np.uint8)
    mask[:, 4000:] = 1
    answer = Segmentation(mask, CLASSES, lambda: np.zeros(0))
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:56] = 200  # the rest is the border
    thumbnail = make_thumbnail(rule, Prepared(pixels, 6000, 8000), ScoredPrediction(answer, mask))
    assert thumbnail.rgb.shape == (240, LONG_SIDE, 3)
    assert (thumbnail.rgb == 200).all()
    assert thumbnail.labels is not None
    assert np.array_equal(thumbnail.labels, np.repeat([[0] * 160 + [1] * 160], 240, axis=0))
    kept = [thumbnail.rgb, thumbnail.target, thumbnail.labels]
    assert all(array is not None and array.base is None for array in kept), "no view that keeps a large image alive"
    files = thumbnail.files(CLASSES)
    assert files.keys() == {"picture.jpg", "truth.png", "prediction.png", "difference.png"}
    assert sum(map(len, files.values())) < 20_000


def test_of_what_is_cut_off_nothing_is_shown() -> None:
    rule = Preprocess(height=32, width=32, resize="short_side")
    answer = Classification(np.float32([1, 0]), ("a", "b"))
    thumbnail = make_thumbnail(
        rule, Prepared(np.zeros((32, 32, 3), np.uint8), 50, 500), ScoredPrediction(answer, np.array(0))
    )
    assert thumbnail.rgb.shape == (32, 32, 3)
    assert (thumbnail.height, thumbnail.width) == (50, 500)


def test_a_line_of_pixels_stays_an_image() -> None:
    rule = Preprocess(height=32, width=32, resize="letterbox")
    mask = np.zeros((1, 5000), np.uint8)
    answer = Segmentation(mask, CLASSES, lambda: np.zeros(0))
    pixels = np.zeros((32, 32, 3), np.uint8)
    assert make_thumbnail(rule, Prepared(pixels, 1, 5000), ScoredPrediction(answer, mask)).rgb.shape == (
        1,
        LONG_SIDE,
        3,
    )


def test_254_classes_and_what_is_not_counted_have_colours() -> None:
    palette = class_palette([ClassInfo(name=f"class {index}", value=index) for index in range(254)])
    assert palette.shape == (256, 3)
    assert len(np.unique(palette[1:254], axis=0)) > 240
    assert palette[255].tolist() == [128, 128, 128]


def dataset(config: ModelConfig, samples: list[Sample]) -> ImageDataset:
    classes = [ClassInfo(entry.name, entry.value) for entry in config.classes]
    return ImageDataset(samples, classes, config.preprocess, build_augmentation("none", config.model.task))


def test_training_images_are_written_as_the_first_epoch_has_them(tmp_path: Path) -> None:
    config = card_of("segmentation", ("no", "yes"))
    images = dataset(config, masked_images(tmp_path, 14))
    names = write_augmented(tmp_path / "out", images, config.classes)
    assert names == [f"augmented-{number}.jpg" for number in range(1, 13)]
    last = cv2.imread(str(tmp_path / "out" / "pictures" / names[-1]), cv2.IMREAD_COLOR_RGB)
    image, target = images[SampleKey(13, epoch=1)]
    expected = outlined(image.numpy().transpose(1, 2, 0), target.numpy(), config.classes)
    assert np.abs(last.astype(int) - expected).mean() < 12, "but for what JPEG changes"


def test_a_mask_is_outlined_on_its_own_side() -> None:
    target = np.zeros((40, 60), np.uint8)
    target[10:30, 20:40] = 1
    drawn = outlined(np.full((40, 60, 3), 77, np.uint8), target, card_of("segmentation", ("no", "yes")).classes)
    changed = (drawn != 77).any(axis=2)
    assert changed[10, 20:40].all()
    assert changed[10:30, 39].all()
    assert not changed[12:28, 22:38].any()
    assert not changed[target == 0].any()


def test_of_few_images_each_is_shown_once_and_what_cannot_be_read_is_not(tmp_path: Path) -> None:
    config, samples = card_of("classification", ("a", "b", "c")), coloured_images(tmp_path, 3)
    Path(str(samples[1].image)).write_bytes(b"no image")
    assert write_augmented(tmp_path / "out", dataset(config, samples), config.classes) == [
        "augmented-1.jpg",
        "augmented-2.jpg",
    ]
