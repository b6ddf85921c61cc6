"""HEIC and AVIF files of which none can be decoded are left out, and counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.images import draw_noise, heic_ramp, save_image
from support.trees import dataset_of

from byoc_vision.errors import DataError

STUB = b"\0\0\0\x18ftypheic" + bytes(40)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        for index in range(4):
            save_image(tmp_path / name / f"{index}.jpg", draw_noise(16, 16, index))
        for index in range(3):
            (tmp_path / name / f"IMG_{index}.HEIC").write_bytes(STUB)
    return tmp_path


def test_they_are_left_out_before_images_are_held_out(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = dataset_of(pets)
    assert {sample.image.suffix for sample in (*dataset.train, *dataset.validation)} == {".jpg"}
    assert sorted(sample.label for sample in dataset.validation if sample.label is not None) == [0, 1]
    assert "files that are not read: 6 (6 × .heic); none of them can be decoded, such as" in caplog.text


def test_if_one_is_an_image_the_others_are_damaged(pets: Path) -> None:
    (pets / "cat/IMG_1.HEIC").write_bytes(heic_ramp())
    dataset = dataset_of(pets)
    assert len(dataset.train) + len(dataset.validation) == 14, "the check before training names those"


def test_one_alone_is_damaged(pets: Path) -> None:
    for stub in [*pets.rglob("*.HEIC")][1:]:
        stub.unlink()
    dataset = dataset_of(pets)
    assert len(dataset.train) + len(dataset.validation) == 9


def test_a_class_of_nothing_else_is_an_error(pets: Path) -> None:
    for image in (pets / "dog").glob("*.jpg"):
        image.unlink()
    with pytest.raises(DataError, match=r"classes without a training image that can be decoded; .*\n.*dog: 3 × \.heic"):
        dataset_of(pets)
