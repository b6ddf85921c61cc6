"""A sample that was not read before training turns out bad: all such samples are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.images import save_grey

from byoc_vision.data.preflight import check_split, error_naming_all
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

CLASSES = (ClassInfo("background", 0), ClassInfo("foreground", 1))


def labelled(folder: Path, bad: tuple[int, ...] = ()) -> tuple[Sample, ...]:
    """Six images, of which those numbered `bad` are cut short."""
    images = [save_grey(folder / f"{index}.png") for index in range(6)]
    for index in bad:
        images[index].write_bytes(images[index].read_bytes()[:-20])
    return tuple(Sample(image, label=0) for image in images)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    train, test = labelled(tmp_path / "train", bad=(1, 4)), labelled(tmp_path / "test", bad=(5,))
    return Dataset("classification", (ClassInfo("a"),), train, labelled(tmp_path / "validation"), test)


def test_all_are_named_once(dataset: Dataset) -> None:
    bad = [dataset.train[1].image, dataset.train[4].image, dataset.test[5].image]
    one = f"{bad[1]} is cut short: the PNG image has no end ({bad[1].stat().st_size} bytes); copy it again"
    text = str(error_naming_all(dataset, one))
    assert text.startswith("3 of 18 samples cannot be used; fix them, or leave them out with on_bad_sample=skip:\n")
    assert [text.count(f"{path} is cut short") for path in bad] == [1, 1, 1]


def test_where_the_time_is_over_the_first_is_named(dataset: Dataset) -> None:
    text = str(error_naming_all(dataset, "train/4.png is cut short", seconds=0))
    assert text == (
        "1 of 18 samples cannot be used (0 were read in 0 s); fix them, or leave them out with on_bad_sample=skip:\n"
        "  - train/4.png is cut short"
    )


def test_a_file_that_can_be_read_again_is_named_too(dataset: Dataset) -> None:
    text = str(error_naming_all(dataset, "train/0.png cannot be read: Input/output error"))
    assert text.startswith("4 of 18")
    assert "  - train/0.png cannot be read: Input/output error\n" in text


def test_values_that_no_class_has(tmp_path: Path) -> None:
    image = save_grey(tmp_path / "p.png")
    masks = [save_grey(tmp_path / f"m{value}.png", value) for value in (0, 1, 255, 2, 7)]
    dataset = Dataset("segmentation", CLASSES, tuple(Sample(image, mask) for mask in masks), (), (), ignore_value=255)
    text = str(error_naming_all(dataset, f"{masks[4]} holds 7, neither a class nor ignored"))
    assert text.startswith("2 of 5 samples")
    assert "The classes are 0, 1, ignored is 255. If one is missing, set num_classes" in text
    assert "checked_pictures=5; ignore_index names a value to ignore:" in text
    assert text.splitlines()[1:] == [
        f"  - {mask} holds {v}, neither a class nor ignored" for mask, v in zip(masks[3:], (2, 7), strict=True)
    ]


def test_a_split_of_its_own(dataset: Dataset) -> None:
    check_split(dataset, "validation")
    with pytest.raises(DataError, match=rf"^1 of 6 samples .*\n  - {dataset.test[5].image} is cut short"):
        check_split(dataset, "test")
