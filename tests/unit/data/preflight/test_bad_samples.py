"""Samples that cannot be used: they end the job by name, or are left out where that is asked for."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.images import save_grey

from byoc_vision.data.preflight import check, inspect
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo

SKIP = DataOptions(on_bad_sample="skip")
CLASSES = (ClassInfo("cat"), ClassInfo("dog"))


def broken(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def mask(path: Path, value: int = 1) -> Path:
    pixels = np.zeros((6, 8), np.uint8)
    pixels[:, 4:] = value
    cv2.imwrite(str(path), pixels)
    return path


def labelled(folder: Path, label: int, count: int, bad: int = 0) -> tuple[Sample, ...]:
    good = [Sample(save_grey(folder / f"{label}_{index}.png", index + 20), label=label) for index in range(count)]
    return (*good, *(Sample(broken(folder / f"bad_{label}_{index}.png"), label=label) for index in range(bad)))


def test_the_remedies_are_in_the_error(tmp_path: Path) -> None:
    dataset = Dataset("classification", CLASSES, (*labelled(tmp_path, 0, 2, bad=1), *labelled(tmp_path, 1, 2)), ())
    with pytest.raises(
        DataError, match=r"(?s)1 of 5 .*on_bad_sample=skip:\n  - .*bad_0_0\.png is not a JPEG"
    ) as raised:
        check(dataset, DataOptions())
    assert inspect(dataset, DataOptions()).report.errors == [str(raised.value)]


def test_bad_images_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = (*labelled(tmp_path, 0, 2), *labelled(tmp_path, 1, 2))
    bad = Sample(broken(tmp_path / "bad.png"), label=1)
    dataset, report = check(Dataset("classification", CLASSES, (good[0], bad, *good[1:]), good[:1]), SKIP)
    assert dataset.train == good
    assert dataset.validation == good[:1]
    assert report.samples == {"train": 5, "validation": 1}
    assert [entry.in_training for entry in report.classes] == [2, 2]
    assert (report.bad_count, report.errors) == (1, [])
    named = [record for record in caplog.records if "1 invalid samples are left out" in record.message]
    assert named[0].levelno == logging.WARNING
    assert f"{bad.image} is not a JPEG" in named[0].message


def test_masks_of_other_values_and_sizes_are_left_out(tmp_path: Path) -> None:
    image = save_grey(tmp_path / "a.png")
    good = tuple(Sample(image, mask(tmp_path / f"{index}.png")) for index in range(4))
    strange = Sample(image, mask(tmp_path / "strange.png", 9))
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), np.zeros((3, 3), np.uint8))
    train = (*good, strange, Sample(image, small))
    options = DataOptions(num_classes=2, on_bad_sample="skip")
    dataset, report = check(Dataset("segmentation", (), train, ()), options)
    assert dataset.train == good
    assert [entry.value for entry in dataset.classes] == [0, 1]
    assert report.classes[1].in_training == 4
    assert sorted(problem.split(" ")[0] for problem in report.bad) == [str(small), f"{strange.mask}:"]
    with pytest.raises(DataError, match=r"(?s)small\.png has 3 × 3.*values outside 0–1.*strange\.png: 9"):
        check(Dataset("segmentation", (), train, ()), DataOptions(num_classes=2))


@pytest.mark.parametrize(("bad", "refused"), [(4, False), (5, True)])
def test_more_than_half_of_a_split_is_too_much(tmp_path: Path, bad: int, refused: bool) -> None:
    validation = labelled(tmp_path, 1, 4, bad=bad)
    train = (*labelled(tmp_path, 0, 3), *labelled(tmp_path, 1, 3))
    errors = inspect(Dataset("classification", CLASSES, train, validation), SKIP).report.errors
    assert bool(errors) == refused
    if refused:
        assert errors[0].startswith("5 of 9 validation samples cannot be used, too many to leave out")
        assert "bad_1_4.png" in errors[0]


def test_a_class_left_without_images(tmp_path: Path) -> None:
    train = (*labelled(tmp_path, 0, 3), *labelled(tmp_path, 1, 0, bad=1))
    with pytest.raises(DataError, match=r"(?s)no training image is left of dog; fix them.*bad_1_0\.png"):
        check(Dataset("classification", CLASSES, train, ()), SKIP)


def test_a_split_left_without_images(tmp_path: Path) -> None:
    dataset = Dataset("classification", CLASSES, labelled(tmp_path, 0, 2), labelled(tmp_path, 1, 0, bad=1))
    with pytest.raises(DataError, match="1 of 1 validation samples cannot be used, too many"):
        check(dataset, SKIP)


@pytest.mark.parametrize(("declared", "fits"), [(2, True), (3, True), (1, False), (4, False)])
def test_a_number_of_classes_beside_those_that_the_layout_names(tmp_path: Path, declared: int, fits: bool) -> None:
    """The ignored value may be counted too, as in the built-in algorithm."""
    sample = Sample(save_grey(tmp_path / "a.png"), mask(tmp_path / "m.png"))
    dataset = Dataset("segmentation", (ClassInfo("sky", 0), ClassInfo("road", 1)), (sample,), (), (), ignore_value=2)
    options = DataOptions(num_classes=declared)
    if fits:
        assert check(dataset, options).dataset == dataset
        return
    with pytest.raises(InputError, match=rf"num_classes is {declared}, but the data have 2 classes \(sky, road\)"):
        check(dataset, options)
