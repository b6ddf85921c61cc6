"""Names that every file system takes, and images and masks as they are to be read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import save_carvana_mask
from support.images import draw_scene, encode, save_image

from byoc_vision.data.channel_writer import class_folder_names, file_stems, write_channels
from byoc_vision.data.samples import ByteRange, Dataset, ImageSource, MaskMap, Sample
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

NAMES = st.lists(st.text(min_size=1, max_size=400), max_size=12)


def is_safe(name: str) -> bool:
    return (
        bool(name) and name.strip(" .") == name and not set(name) & set('/\\:*?"<>|\0\n') and len(name.encode()) <= 240
    )


class TestFileStems:
    def test_the_own_name_where_it_tells(self) -> None:
        assert file_stems([Path("/data/a/1.jpg"), Path("/data/b/2.jpg")]) == ["1", "2"]

    def test_the_folders_above_where_they_must(self) -> None:
        files = [Path("/data/a/1.jpg"), Path("/data/b/1.jpg"), Path("/data/b/2.jpg")]
        assert file_stems(files) == ["a_1", "b_1", "2"]

    def test_numbers_where_nothing_else_tells(self) -> None:
        assert file_stems([Path("/a/1.jpg"), Path("/a/1.png"), Path("/a/1.jpg")]) == ["a_1", "a_1-2", "a_1-3"]

    def test_capitals_make_no_difference(self) -> None:
        assert file_stems([Path("/a/x.jpg"), Path("/b/X.jpg")]) == ["a_x", "b_X"]

    def test_records(self) -> None:
        records: list[ImageSource] = [ByteRange(Path("/a/t.rec"), 0, 1, f"/a/t.rec, record {n}") for n in (1, 2)]
        assert file_stems(records) == ["_a_t.rec, record 1", "_a_t.rec, record 2"]

    @given(st.lists(st.lists(st.sampled_from(["a", "A", "b", "a_b", "..x", "?", "é"]), min_size=1, max_size=4)))
    def test_always_different_and_safe(self, paths: list[list[str]]) -> None:
        stems = file_stems([Path("/", *path).with_suffix(".jpg") for path in paths])
        assert len({stem.casefold() for stem in stems}) == len(paths)
        assert all(map(is_safe, stems))


class TestClassFolderNames:
    def test_names_stay_where_they_can(self) -> None:
        names = ["Coats & Jackets", "T-Shirts (long)", "crème brûlée", "001.Affenpinscher"]
        assert class_folder_names(names) == names

    @pytest.mark.parametrize(
        ("name", "folder"),
        [
            ("Tops/Shirts", "Tops_Shirts"),
            ("..", "_"),
            (".hidden", "hidden"),
            ("", "_"),
            ("a\nb", "a_b"),
            ("train", "train_"),
            ("masks", "masks_"),
            ("Images", "Images_"),
            ("test_labels", "test_labels_"),
            ("服" * 90, "服" * 66),
        ],
    )
    def test_names_that_cannot_be_folders_or_would_be_misread(self, name: str, folder: str) -> None:
        assert class_folder_names([name]) == [folder]

    @given(NAMES)
    def test_always_different_and_safe(self, names: list[str]) -> None:
        folders = class_folder_names(names)
        assert len({folder.casefold() for folder in folders}) == len(names)
        assert all(map(is_safe, folders))


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "in" / "picture.jpg"
    save_image(path, draw_scene(0)[0])
    yield path
    assert path.is_file(), "what is the user's stays"


def dataset(*samples: Sample, classes: Sequence[str] = ("cat", "dog"), many: bool = False) -> Dataset:
    return Dataset("classification", tuple(map(ClassInfo, classes)), samples, (), multi_label=many)


def segmentation(*samples: Sample) -> Dataset:
    return Dataset("segmentation", (ClassInfo("ground", 0), ClassInfo("car", 3)), samples, (), ignore_value=9)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestImages:
    def test_they_are_copied_byte_for_byte(self, image: Path, tmp_path: Path) -> None:
        write_channels(dataset(Sample(image, label=1)), tmp_path / "out")
        assert files(tmp_path / "out") == ["train/classes.json", "train/dog/picture.jpg"]
        copy = tmp_path / "out/train/dog/picture.jpg"
        assert copy.read_bytes() == image.read_bytes()
        assert copy.stat().st_nlink == 1

    @pytest.mark.parametrize(("kind", "ending"), [("GIF", "gif"), ("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif")])
    def test_the_ending_is_that_of_the_kind(self, kind: str, ending: str, tmp_path: Path) -> None:
        save_image(tmp_path / "a.jpeg", draw_scene(0)[0], kind)
        write_channels(dataset(Sample(tmp_path / "a.jpeg", label=0)), tmp_path / "out")
        assert f"train/cat/a.{ending}" in files(tmp_path / "out")

    def test_our_own_get_a_second_name(self, image: Path, tmp_path: Path) -> None:
        link = tmp_path / "own" / "linked"
        link.parent.mkdir()
        link.symlink_to(image.parent)
        save_image(tmp_path / "own" / "unpacked.jpg", draw_scene(1)[0])
        samples = [Sample(link / image.name, label=0), Sample(tmp_path / "own" / "unpacked.jpg", label=1)]
        write_channels(dataset(*samples), tmp_path / "out", own=tmp_path / "own")
        assert (tmp_path / "out/train/dog/unpacked.jpg").samefile(tmp_path / "own/unpacked.jpg")
        assert not (tmp_path / "out/train/cat/picture.jpg").samefile(image)

    def test_records_become_files(self, tmp_path: Path) -> None:
        content = encode(draw_scene(0)[0])
        (tmp_path / "t.rec").write_bytes(b"head" + content + b"tail")
        record = ByteRange(tmp_path / "t.rec", 4, len(content), "t.rec, record 1")
        write_channels(dataset(Sample(record, label=0)), tmp_path / "out")
        assert (tmp_path / "out/train/cat/t.rec, record 1.png").read_bytes() == content

    def test_an_image_that_is_gone_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.jpg cannot be read"):
            write_channels(dataset(Sample(tmp_path / "gone.jpg", label=0)), tmp_path / "out")

    def test_what_is_not_an_image_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_text("words")
        with pytest.raises(DataError, match=r"a\.jpg is not an image: it begins with the text 'words'"):
            write_channels(dataset(Sample(tmp_path / "a.jpg", label=0)), tmp_path / "out")


class TestMasks:
    def test_they_become_png_with_the_values_that_count(self, image: Path, tmp_path: Path) -> None:
        inside = draw_scene(0)[1]
        save_carvana_mask(tmp_path / "in/picture_mask.gif", inside)
        three = MaskMap("a map", ((0, 0), (1, 3)))
        write_channels(segmentation(Sample(image, tmp_path / "in/picture_mask.gif", mask_map=three)), tmp_path / "out")
        assert files(tmp_path / "out") == ["train/classes.json", "train/picture.jpg", "train_annotation/picture.png"]
        written = cv2.imread(str(tmp_path / "out/train_annotation/picture.png"), cv2.IMREAD_UNCHANGED)
        assert written.dtype == np.uint8
        np.testing.assert_array_equal(written, np.where(inside, 3, 0))

    def test_the_classes_are_named(self, image: Path, tmp_path: Path) -> None:
        save_carvana_mask(tmp_path / "in/mask.gif", draw_scene(0)[1])
        write_channels(segmentation(Sample(image, tmp_path / "in/mask.gif")), tmp_path / "out")
        assert json.loads((tmp_path / "out/train/classes.json").read_text()) == {
            "classes": [{"name": "ground", "value": 0}, {"name": "car", "value": 3}],
            "ignore_value": 9,
        }


def test_several_classes_of_an_image(tmp_path: Path) -> None:
    for index in range(3):
        save_image(tmp_path / f"{index}.jpg", draw_scene(index)[0])
    targets = [(0, 2), (), (1,)]
    samples = [Sample(tmp_path / f"{index}.jpg", labels=labels) for index, labels in enumerate(targets)]
    write_channels(dataset(*samples, classes=("Tops/Shirts", "crème", "c"), many=True), tmp_path / "out")
    assert files(tmp_path / "out") == ["train/0.jpg", "train/1.jpg", "train/2.jpg", "train/labels.manifest"]
    lines = [json.loads(line) for line in (tmp_path / "out/train/labels.manifest").read_text().splitlines()]
    assert [line["source-ref"] for line in lines] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [line["label"] for line in lines] == [[0, 2], [], [1]]
    assert [line["label-metadata"]["class-map"] for line in lines] == [
        {"0": "Tops/Shirts", "2": "c"},
        {},
        {"1": "crème"},
    ]
