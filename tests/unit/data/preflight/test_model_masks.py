"""Masks of a labelled folder whose values are the model's, mean the same, or neither."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.images import save_image

from byoc_vision.data.preflight import check_labelled
from byoc_vision.data.samples import Sample
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo

SIDE = 32


def classes(*values: int) -> list[ClassInfo]:
    return [ClassInfo(f"class_{value}", value) for value in values]


def sample(folder: Path, name: str, *values: int) -> Sample:
    """Its mask has a stripe for each value."""
    mask = np.repeat(np.uint8(values), SIDE // len(values))[None].repeat(SIDE, axis=0)
    image = save_image(folder / f"{name}.jpg", np.full((*mask.shape, 3), 90, np.uint8))
    return Sample(image, save_image(folder / f"{name}.png", mask))


def masks_read(samples: tuple[Sample, ...]) -> set[int]:
    return {int(value) for one in samples for value in np.unique(read_mask_values(one))}


@pytest.mark.parametrize(("model", "held"), [((0, 255), (0, 1)), ((0, 1), (0, 255)), ((0, 100), (0, 255))])
def test_the_one_other_foreground_is_the_models(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, model: tuple[int, int], held: tuple[int, int]
) -> None:
    samples = [sample(tmp_path, "both", *held), sample(tmp_path, "empty", 0)]
    assert masks_read(check_labelled(samples, classes(*model))) == set(model)
    assert f"{held[1]} is read as {model[1]}" in caplog.text


@pytest.mark.parametrize("model", [(0, 1), (0, 255)])
def test_two_foregrounds_are_refused_as_in_training(tmp_path: Path, model: tuple[int, int]) -> None:
    samples = [sample(tmp_path, "ones", 0, 1), sample(tmp_path, "bytes", 0, 255)]
    with pytest.raises(DataError, match=r"ones\.png, and others with 255, such as .*bytes\.png.*--ignore-index 255"):
        check_labelled(samples, classes(*model))


def test_a_value_to_ignore_that_is_named_is_not_the_foreground(tmp_path: Path) -> None:
    samples = [sample(tmp_path, "ones", 0, 1), sample(tmp_path, "bytes", 0, 255)]
    assert check_labelled(samples, classes(0, 1), ignore_index=255) == tuple(samples)
    with pytest.raises(InputError, match="ignore_index=1 is a class of the model"):
        check_labelled(samples, classes(0, 1), ignore_index=1)


@pytest.mark.parametrize(
    ("model", "held"),
    [
        ((0, 1, 2), (0, 1, 2, 255)),
        ((0, 1, 2), (0, 1, 2, 11)),
        ((0, 1), (0, 1, 255, 255)),
        ((1, 2, 3), (0, 1, 2, 3)),
    ],
)
def test_the_usual_values_to_ignore_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, model: tuple[int, ...], held: tuple[int, ...]
) -> None:
    samples = [sample(tmp_path, "mask", *held)]
    with caplog.at_level(logging.WARNING):
        assert check_labelled(samples, classes(*model)) == tuple(samples)
    (ignored,) = set(held) - set(model)
    share = 100 * held.count(ignored) / len(held)
    assert f"mask values that are not classes of the model are ignored: {ignored} ({share:.1f} %" in caplog.text


@pytest.mark.parametrize(
    ("model", "held"),
    [
        ((0, 1, 2), (0, 85, 170, 255)),  # grey levels instead of indices
        ((0, 60, 120, 180), (0, 1, 2, 3)),  # indices instead of grey levels
        ((0, 1, 2), (1, 2, 3)),  # counted from 1
        ((1, 2, 3), (0, 1, 2)),  # counted from 0
        ((0, 1, 2, 3), (0, 255)),  # only a foreground
        ((0, 255), (0, 128, 255, 255)),  # a class more
        ((0, 1), (0, 2)),
        ((0, 255), (1,)),
    ],
)
def test_values_that_may_be_classes_under_other_values_are_refused(
    tmp_path: Path, model: tuple[int, ...], held: tuple[int, ...]
) -> None:
    with pytest.raises(DataError, match=r"not classes of the model \(.*--ignore-index(?s:.*)mask\.png: \d"):
        check_labelled([sample(tmp_path, "mask", *held)], classes(*model))


def test_masks_saved_as_jpeg_are_read_as_training_reads_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows, columns = np.mgrid[:64, :64]
    mask = np.where((rows - 32) ** 2 + (columns - 32) ** 2 < 400, 255, 0).astype(np.uint8)
    image = save_image(tmp_path / "image.png", np.full((64, 64, 3), 90, np.uint8))
    Image.fromarray(mask).save(tmp_path / "mask.jpg", quality=60)
    (read,) = check_labelled([Sample(image, tmp_path / "mask.jpg")], classes(0, 1))
    assert (read_mask_values(read) == (mask > 0)).mean() > 0.99
    assert "saved as JPEG or have soft edges" in caplog.text


def test_bad_files_are_named(tmp_path: Path) -> None:
    image, other = sample(tmp_path, "one", 0, 1), save_image(tmp_path / "two.png", np.zeros((20, 31), np.uint8))
    samples = [Sample(image.image, other), Sample(tmp_path / "gone.jpg", label=1)]
    with pytest.raises(DataError, match=r"(?s)2 of 2 samples.*two\.png has 31 × 20.*gone\.jpg cannot be read"):
        check_labelled(samples, [])
