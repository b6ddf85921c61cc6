"""The Oxford pets: one archive, two tasks, three kinds of lists."""

from __future__ import annotations

import io
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.datasets import BREEDS, oxford_pets_tree
from support.images import draw_scene
from support.trees import dataset_of

from byoc_vision.data.decoding import read_image
from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo

NAMES = ("Abyssinian", "american bulldog", "Bengal", "yorkshire terrier")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return oxford_pets_tree(tmp_path / "pets")


class TestSegmentation:
    def test_the_lists_make_the_splits(self, pets: Path) -> None:
        dataset = dataset_of(pets)
        assert dataset.task == "segmentation"
        assert [len(samples) for samples in dataset.splits.values()] == [12, 4, 8]
        assert Counter(sample.stratum for sample in dataset.validation) == dict.fromkeys(NAMES, 1)
        assert {sample.image.name[-5] for sample in dataset.test} == {"5", "6"}

    def test_the_border_is_ignored(self, pets: Path) -> None:
        dataset = dataset_of(pets)
        assert dataset.classes == (ClassInfo("background", 0), ClassInfo("pet", 1))
        assert dataset.ignore_value == 255
        assert set(np.unique(read_mask_values(dataset.train[0]))) == {0, 1, 255}

    def test_the_border_is_a_class(self, pets: Path) -> None:
        dataset = dataset_of(pets, trimap_border="class")
        assert dataset.classes[2] == ClassInfo("border", 2)
        assert dataset.ignore_value is None
        assert set(np.unique(read_mask_values(dataset.train[0]))) == {0, 1, 2}

    def test_a_value_that_no_trimap_has(self, pets: Path) -> None:
        mask = dataset_of(pets).train[0].mask
        assert mask is not None
        Image.fromarray(np.full((36, 40), 7, np.uint8)).save(str(mask))
        with pytest.raises(
            DataError, match=r"\.png holds the values 7, which a trimap \(1 pet, 2 background, 3 border\)"
        ):
            read_mask_values(dataset_of(pets).train[0])

    def test_images_without_a_trimap_are_named(self, pets: Path) -> None:
        (pets / "annotations/trimaps/Bengal_1.png").unlink()
        with pytest.raises(
            DataError, match=r"(?s)pets without a trimap.*trainval\.txt, line 9: Bengal_1 has no trimap"
        ):
            dataset_of(pets)
        assert dataset_of(pets, task="classification").task == "classification"

    @pytest.mark.parametrize("asked", [{"ignore_index": 2}, {"ignore_index": 3, "trimap_border": "class"}])
    def test_what_does_not_fit_the_trimaps(self, pets: Path, asked: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=r"trimap_border"):
            dataset_of(pets, **asked)

    @pytest.mark.parametrize("asked", [{"ignore_index": 3}, {"ignore_index": 255}])
    def test_what_fits_them(self, pets: Path, asked: dict[str, Any]) -> None:
        assert dataset_of(pets, **asked).class_names[:2] == ("background", "pet")

    def test_a_model_with_a_border_is_measured_with_it(self, pets: Path) -> None:
        classes = dataset_of(pets, trimap_border="class").classes
        samples = read_folder(pets, "segmentation", classes)
        assert len(samples) == 8
        assert set(np.unique(read_mask_values(samples[0]))) == {0, 1, 2}


class TestBreeds:
    def test_names_are_readable_and_in_the_originals_order(self, pets: Path) -> None:
        dataset = dataset_of(pets, task="classification")
        assert dataset.class_names == NAMES
        assert [len(samples) for samples in dataset.splits.values()] == [12, 4, 8]
        assert Counter(sample.label for sample in dataset.validation) == {0: 1, 1: 1, 2: 1, 3: 1}
        assert all(sample.image.name.startswith(BREEDS[sample.label or 0]) for sample in dataset.train)

    def test_the_archive_of_the_lists_may_be_deeper_or_in_a_channel_of_its_own(
        self, pets: Path, tmp_path: Path
    ) -> None:
        deep = shutil.copytree(pets, tmp_path / "deep/oxford-iiit-pet")
        channels = {"train": deep / "images", "train_annotation": deep / "annotations"}
        for task in ("segmentation", "classification"):
            options = DataOptions(task=task)
            for found in (find_dataset({"train": tmp_path / "deep"}, options), find_dataset(channels, options)):
                assert [len(samples) for samples in found.splits.values()] == [12, 4, 8]

    def test_a_model_of_other_breeds(self, pets: Path) -> None:
        classes = [ClassInfo(name) for name in reversed(NAMES)]
        labels = [sample.label for sample in read_folder(pets, "classification", classes)]
        assert sorted(labels, key=str) == [0, 0, 1, 1, 2, 2, 3, 3]
        with pytest.raises(DataError, match=r"(?s)breeds without training images.*test\.txt, line 3: american bulldog"):
            read_folder(pets, "classification", [ClassInfo("Abyssinian"), ClassInfo("Bengal")])

    def test_small_classes_are_left_out(self, tmp_path: Path) -> None:
        oxford_pets_tree(tmp_path, breeds=BREEDS[:3])
        oxford_pets_tree(tmp_path / "more", breeds=BREEDS[3:], trainval=2)
        for path in (tmp_path / "more/images").iterdir():
            shutil.copy(path, tmp_path / "images")
        with (tmp_path / "annotations/trainval.txt").open("a") as file:
            file.write("yorkshire_terrier_1 4 2 1\n")
        assert len(dataset_of(tmp_path, task="classification").classes) == 4
        assert dataset_of(tmp_path, task="classification", min_class_count=3).class_names == NAMES[:3]


class TestLists:
    def test_one_list_for_all(self, pets: Path) -> None:
        (pets / "annotations/trainval.txt").unlink()
        dataset = dataset_of(pets)
        assert [len(samples) for samples in dataset.splits.values()] == [18, 6]
        held_out = Counter(sample.stratum for sample in dataset.validation)
        assert sorted(held_out.values()) == [1, 1, 2, 2], "a quarter of 4 × 6 images: one and a half of each breed"

    def test_no_list(self, pets: Path) -> None:
        for path in (pets / "annotations").glob("*.txt"):
            path.unlink()
        for task in ("segmentation", "classification"):
            assert [len(samples) for samples in dataset_of(pets, task=task).splits.values()] == [18, 6]

    def test_another_share_is_held_out(self, pets: Path) -> None:
        assert len(dataset_of(pets, validation_split=0.5).validation) == 8

    def test_what_no_list_names_is_counted(self, pets: Path, caplog: pytest.LogCaptureFixture) -> None:
        shutil.copy(pets / "images/Bengal_1.jpg", pets / "images/Bengal_77.jpg")
        with caplog.at_level(logging.INFO):
            assert len(dataset_of(pets).train) == 12
        assert f"images in {pets}/images that are not in a list, and are not read: 1" in caplog.text

    def test_lines_that_do_not_fit_are_all_named(self, pets: Path) -> None:
        with (pets / "annotations/trainval.txt").open("a") as file:
            file.write("Bengal_900 3 1 3\nBengal_1 3 1 3\n")
        with (pets / "annotations/test.txt").open("a") as file:
            file.write("Abyssinian_2 1 1 1\n")
        with pytest.raises(DataError) as raised:
            dataset_of(pets)
        lists = f"{pets}/annotations"
        assert f"{lists}/trainval.txt, line 17: there is no Bengal_900.jpg in {pets}/images" in str(raised.value)
        assert f"{lists}/trainval.txt, line 18: Bengal_1 is already in {lists}/trainval.txt, line 9" in str(
            raised.value
        )
        assert f"{lists}/test.txt, line 9: Abyssinian_2 is already in {lists}/trainval.txt, line 2" in str(raised.value)

    @pytest.mark.parametrize("line", ["Bengal_1", "Bengal_1 3 1", "Bengal_1 a b c", "Bengal_1 3 1 3 4"])
    def test_lines_of_another_shape(self, pets: Path, line: str) -> None:
        (pets / "annotations/trainval.txt").write_text(f"# a comment\n{line}\n")
        with pytest.raises(DataError, match=r"trainval\.txt, line 2: expected 'Image CLASS-ID SPECIES BREED-ID'"):
            dataset_of(pets)

    def test_a_list_of_nothing(self, pets: Path) -> None:
        (pets / "annotations/trainval.txt").write_text("# nothing\n")
        with pytest.raises(DataError, match=r"trainval\.txt lists no images"):
            dataset_of(pets)

    def test_two_images_of_one_name(self, pets: Path) -> None:
        shutil.copy(pets / "images/Bengal_1.jpg", pets / "images/Bengal_1.png")
        with pytest.raises(
            DataError, match=r"(?s)images that differ only in the ending.*Bengal_1\.jpg and Bengal_1\.png"
        ):
            dataset_of(pets)

    def test_a_channel_without_trimaps(self, pets: Path, tmp_path: Path) -> None:
        other = oxford_pets_tree(tmp_path / "other", trainval=1, test=1)
        shutil.rmtree(other / "annotations/trimaps")
        with pytest.raises(DataError, match="annotations has no trimaps/ with the masks; unpack all of annotations"):
            find_dataset({"train": pets, "validation": other}, DataOptions())

    def test_further_channels_are_read_whole(self, pets: Path, tmp_path: Path) -> None:
        other = oxford_pets_tree(tmp_path / "other", trainval=1, test=1)
        dataset = find_dataset({"train": pets, "validation": other}, DataOptions(task="classification"))
        assert [len(samples) for samples in dataset.splits.values()] == [16, 8, 8]
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="empty holds no Oxford pets"):
            find_dataset({"train": pets, "validation": tmp_path / "empty"}, DataOptions())


class TestOddImages:
    """The original holds GIFs and PNGs called .jpg, JPEGs with bytes to spare, and some that are cut short."""

    @pytest.fixture
    def jpeg(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(draw_scene(1, 200, 160)[0]).save(file, "JPEG", quality=90, progressive=False)
        return file.getvalue()

    @pytest.mark.parametrize("kind", ["GIF", "PNG", "BMP"])
    def test_the_content_tells_the_kind(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "Egyptian_Mau_14.jpg"
        Image.fromarray(draw_scene(1)[0]).save(path, kind)
        assert read_image(path).shape == (32, 48, 3)

    def test_extraneous_bytes_before_a_marker(self, tmp_path: Path, jpeg: bytes) -> None:
        """libjpeg's "Corrupt JPEG data: … extraneous bytes before marker": a warning of its, not a fault."""
        tables = jpeg.index(b"\xff\xc4")
        (tmp_path / "beagle_116.jpg").write_bytes(jpeg[:tables] + bytes(7) + jpeg[tables:])
        whole = read_image(jpeg)
        assert np.array_equal(read_image(tmp_path / "beagle_116.jpg"), whole)

    def test_extraneous_bytes_before_the_end(self, jpeg: bytes) -> None:
        assert jpeg.endswith(b"\xff\xd9")
        assert np.array_equal(read_image(jpeg[:-2] + bytes(240) + jpeg[-2:]), read_image(jpeg))

    def test_bytes_after_the_end(self, jpeg: bytes) -> None:
        assert np.array_equal(read_image(jpeg + b"\0" * 300), read_image(jpeg))

    def test_a_missing_end(self, tmp_path: Path, jpeg: bytes) -> None:
        (tmp_path / "chihuahua_121.jpg").write_bytes(jpeg[: len(jpeg) // 2])
        with pytest.raises(DataError, match=r"chihuahua_121\.jpg is cut short: the JPEG image has no end"):
            read_image(tmp_path / "chihuahua_121.jpg")
