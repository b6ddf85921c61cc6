"""Splits in text files: CUB-200's numbered lists. `train.txt` and others are shown in test_split_names."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trees import touch

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError

IMAGES = [f"{name}/{n}.jpg" for name in ("001.Auk", "002.Owl") for n in range(4)]


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """As the archive unpacks: of each bird, images 0 and 2 are for training, 1 and 3 for the test."""
    root = tmp_path / "CUB_200_2011"
    touch(root, *(f"images/{image}" for image in IMAGES), "attributes/attributes.txt", "parts/parts.txt")
    numbered = list(enumerate(IMAGES, start=1))
    write(root / "images.txt", *(f"{number} {image}" for number, image in numbered))
    write(root / "image_class_labels.txt", *(f"{number} {int(image[:3])}" for number, image in numbered))
    write(root / "train_test_split.txt", *(f"{number} {number % 2}" for number, _ in numbered))
    write(root / "classes.txt", "1 001.Auk", "2 002.Owl")
    return tmp_path


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_published_split_is_kept(cub: Path) -> None:
    dataset = find_dataset({"train": cub}, DataOptions(validation_split=0.5))
    assert dataset.class_names == ("Auk", "Owl")
    assert {(sample.image.name, sample.label) for sample in dataset.test} == {
        (name, label) for name in ("1.jpg", "3.jpg") for label in (0, 1)
    }
    assert {sample.image.name for sample in dataset.train + dataset.validation} == {"0.jpg", "2.jpg"}


def test_a_split_without_the_list_of_images_does_not_count(cub: Path) -> None:
    (cub / "CUB_200_2011/images.txt").unlink()
    assert not find_dataset({"train": cub}, DataOptions()).test


def test_lines_that_say_something_else_are_named(cub: Path) -> None:
    write(cub / "CUB_200_2011/train_test_split.txt", "1 1", "2 yes", "9 0", "3 0")
    with pytest.raises(
        DataError, match=r"(?s)split\.txt, line 2: .*1 for training or 0 for test.*line 3: .*'9'"
    ) as said:
        find_dataset({"train": cub}, DataOptions())
    assert "line 1" not in str(said.value)
    assert "line 4" not in str(said.value)
