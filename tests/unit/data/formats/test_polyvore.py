"""Polyvore's outfits: single pieces by category."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.datasets import polyvore_tree

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

NAMES = ("Dresses", "Coats & Jackets", "Shoes")


def find(folder: Path, **options: Any) -> Dataset:
    return find_dataset({"train": folder}, DataOptions(**({"min_class_count": 1} | options)))


@pytest.fixture
def outfits(tmp_path: Path) -> Path:
    return polyvore_tree(tmp_path / "polyvore")


def change(path: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def first_image(folder: Path) -> Path:
    return min(folder.glob("images/*/1.jpg"))


def test_the_lists_make_the_splits(outfits: Path, tmp_path: Path) -> None:
    for folder in (outfits, tmp_path):  # the tree, and the folder that holds nothing else
        dataset = find(folder)
        assert dataset.task == "classification"
        assert dataset.class_names == NAMES
        assert [len(samples) for samples in dataset.splits.values()] == [12, 6, 6]
        assert all(sample.image.name == f"{(sample.label or 0) + 1}.jpg" for sample in dataset.train)
        assert all(sample.group == sample.image.parent.name for sample in dataset.train)


def test_validation_is_held_out_by_outfit(outfits: Path) -> None:
    (outfits / "valid_no_dup.json").unlink()
    dataset = find(outfits)
    assert {sample.group for sample in dataset.train}.isdisjoint(sample.group for sample in dataset.validation)
    assert len(dataset.validation) == 3


def test_a_single_list_of_another_name_is_for_training(outfits: Path) -> None:
    (outfits / "train_no_dup.json").rename(outfits / "outfits.json")
    for name in ("valid", "test"):
        (outfits / f"{name}_no_dup.json").unlink()
    assert [len(samples) for samples in find(outfits).splits.values()] == [9, 3]


def test_channels_of_their_own(outfits: Path, tmp_path: Path) -> None:
    other = polyvore_tree(tmp_path / "other", {"test": 5})
    dataset = find_dataset({"train": outfits, "validation": other}, DataOptions(min_class_count=1))
    assert [len(samples) for samples in dataset.splits.values()] == [12, 15, 6]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no Polyvore outfits"):
        find_dataset({"train": outfits, "validation": tmp_path / "empty"}, DataOptions())


def test_small_classes_are_left_out(outfits: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match=r"0 of 3 classes have at least 50 training images \(min_class_count\)"):
        find(outfits, min_class_count=None)
    change(outfits / "train_no_dup.json", lambda sets: sets[0]["items"].pop(0))
    dataset = find(outfits, min_class_count=4)
    assert dataset.class_names == NAMES[1:]
    assert [len(samples) for samples in dataset.splits.values()] == [8, 4, 4]
    assert "left out: Dresses (3)" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("category_id.txt", "3 Dresses\n17\tCoats & Jackets\n\n41  Shoes\n"),
        ("category_id.csv", 'id,name\n3,Dresses\n17,"Coats & Jackets"\n41,Shoes\n'),
    ],
)
def test_the_names_of_the_categories(outfits: Path, name: str, text: str) -> None:
    (outfits / "category_id.txt").unlink()
    assert find(outfits).class_names == ("category 3", "category 17", "category 41")
    (outfits / name).write_text(text)
    assert find(outfits).class_names == NAMES


def test_categories_of_one_name_keep_their_numbers(outfits: Path) -> None:
    (outfits / "category_id.txt").write_text("3 Shoes\n17 Coats\n41 Shoes\n")
    assert find(outfits).class_names == ("Shoes (3)", "Coats", "Shoes (41)")


def test_names_that_cannot_be_read(outfits: Path) -> None:
    (outfits / "category_id.txt").write_text("3 Dresses\nseventeen Coats\n")
    with pytest.raises(DataError, match=r"category_id\.txt, line 2: expected a number and a name.*'seventeen Coats'"):
        find(outfits)


def test_categories_that_training_lacks(outfits: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(outfits / "test_no_dup.json", lambda sets: sets[0]["items"][0].update(categoryid=318))
    with caplog.at_level(logging.INFO):
        assert len(find(outfits).test) == 5
    assert "test items of categories without training images, which are not read: 1" in caplog.text


def test_a_few_images_may_be_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    polyvore_tree(tmp_path, {"train": 34, "valid": 1})
    first_image(tmp_path).unlink()
    assert len(find(tmp_path).train) == 101
    assert "items without an image are left out: 1, such as" in caplog.text
    assert f"{tmp_path}/train_no_dup.json, outfit 1, item 1: there is no images/" in caplog.text


def test_many_may_not(outfits: Path) -> None:
    first_image(outfits).unlink()
    with pytest.raises(DataError, match=r"(?s)1 of 12 items in .* have no image; unpack all:.*outfit 1, item 1"):
        find(outfits)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda sets: sets.insert(1, "x"), r"outfit 2: expected an object with 'set_id' and a list 'items'"),
        (lambda sets: sets[2].pop("set_id"), r"outfit 3: expected an object with 'set_id'"),
        (lambda sets: sets[1].update(items=None), r"outfit 2: expected an object"),
        (lambda sets: sets[1]["items"][2].pop("categoryid"), r"outfit 2, item 3: 'categoryid' missing"),
        (lambda sets: sets[1]["items"].insert(0, 7), r"outfit 2, item 1: 'index' and 'categoryid' missing"),
        (lambda sets: sets[0]["items"][0].update(categoryid="hat"), r"item 1: 'categoryid' is 'hat', not a number"),
    ],
)
def test_outfits_that_cannot_be_read(outfits: Path, edit: Callable[[Any], object], said: str) -> None:
    change(outfits / "train_no_dup.json", edit)
    with pytest.raises(DataError, match=rf"(?s)outfits that cannot be read.*train_no_dup\.json, {said}|{said}"):
        find(outfits)


@pytest.mark.parametrize(
    ("text", "said"),
    [('[{"set_id": 1,', r"is not JSON: .*line 1 column"), ('{"outfits": []}', "must hold a list of outfits")],
)
def test_lists_that_cannot_be_read(outfits: Path, text: str, said: str) -> None:
    (outfits / "valid_no_dup.json").write_text(text)
    with pytest.raises(DataError, match=rf"valid_no_dup\.json {said}"):
        find(outfits)


def test_numbers_may_be_strings(outfits: Path) -> None:
    for item in (0, 1, 2):
        change(
            outfits / "train_no_dup.json",
            lambda sets, i=item: sets[0]["items"][i].update(categoryid="3", index=str(i + 1)),
        )
    assert [sample.label for sample in find(outfits).train[:3]] == [0, 0, 0]


def test_a_model_of_fewer_classes_is_measured_on_what_it_knows(outfits: Path) -> None:
    samples = read_folder(outfits, "classification", [ClassInfo("Shoes"), ClassInfo("Dresses")])
    assert sorted((sample.image.name, sample.label) for sample in samples) == [("1.jpg", 1)] * 2 + [("3.jpg", 0)] * 2
