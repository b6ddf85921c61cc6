from __future__ import annotations

import numpy as np

from byoc_vision.inference.predictor import Classification, Prepared, Segmentation
from byoc_vision.preprocess import Preprocess
from byoc_vision.training.predictions.scoring import Answered
from byoc_vision.training.predictions.thumbnails import LONG_SIDE, class_palette, make_thumbnail
from byoc_vision.types import ClassInfo

CLASSES = (ClassInfo(name="road", value=0), ClassInfo(name="car", value=1))


def test_of_a_image_of_8000_pixels_little_is_kept() -> None:
    rule = Preprocess(height=64, width=64, resize="letterbox")
    mask = np.zeros((6000, 8000), np.uint8)
    mask[:, 4000:] = 1
    answer = Segmentation(mask, CLASSES, lambda: np.zeros(0))
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:56] = 200  # the rest is the border
    thumbnail = make_thumbnail(rule, Prepared(pixels, 6000, 8000), Answered(answer, mask))
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
    thumbnail = make_thumbnail(rule, Prepared(np.zeros((32, 32, 3), np.uint8), 50, 500), Answered(answer, np.array(0)))
    assert thumbnail.rgb.shape == (32, 32, 3)
    assert (thumbnail.height, thumbnail.width) == (50, 500)


def test_a_line_of_pixels_stays_a_image() -> None:
    rule = Preprocess(height=32, width=32, resize="letterbox")
    mask = np.zeros((1, 5000), np.uint8)
    answer = Segmentation(mask, CLASSES, lambda: np.zeros(0))
    pixels = np.zeros((32, 32, 3), np.uint8)
    assert make_thumbnail(rule, Prepared(pixels, 1, 5000), Answered(answer, mask)).rgb.shape == (1, LONG_SIDE, 3)


def test_254_classes_and_what_is_not_counted_have_colours() -> None:
    palette = class_palette([ClassInfo(name=f"class {index}", value=index) for index in range(254)])
    assert palette.shape == (256, 3)
    assert len(np.unique(palette[1:254], axis=0)) > 240
    assert palette[255].tolist() == [128, 128, 128]
