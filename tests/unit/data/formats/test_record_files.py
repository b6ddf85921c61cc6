"""RecordIO files, and what came through a pipe: both are slices of a file."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from support import listed
from support.trees import dataset_of_channels

from byoc_vision.data.decoding import read_image
from byoc_vision.data.formats import read_folder
from byoc_vision.data.samples import Dataset
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo


def rec(root: Path, *labels: tuple[float, ...], split: str = "train") -> Path:
    contents = ((label, listed.jpeg(0, index)) for index, label in enumerate(labels))
    listed.write_rec(root / split / f"{split}.rec", contents)
    return root


def piped(root: Path, *contents: bytes, split: str = "train") -> Path:
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / split / f"{split}_0.records").write_bytes(listed.records(contents))
    return root


def targets(dataset: Dataset) -> list[list[int | tuple[int, ...] | None]]:
    return [[s.label if s.labels is None else s.labels for s in samples] for samples in dataset.splits.values()]


class TestRecordIo:
    def test_a_label_each(self, tmp_path: Path) -> None:
        rec(tmp_path, (0,), (1,), (1,))
        dataset = dataset_of_channels(rec(tmp_path, (1,), split="validation"))
        assert (dataset.class_names, dataset.multi_label) == (("class_0", "class_1"), False)
        assert targets(dataset) == [[0, 1, 1], [1]]
        assert str(dataset.train[2].image) == "train.rec, record 3"
        assert read_image(dataset.train[2].image).shape == (listed.SIZE, listed.SIZE, 3)
        classes = [ClassInfo("class_0"), ClassInfo("class_1")]
        assert [s.label for s in read_folder(tmp_path / "validation", "classification", classes)] == [1]

    def test_packed_labels_are_a_vector(self, tmp_path: Path) -> None:
        rec(tmp_path, (0, 1, 1), (1, 0, 0), (0, 0, 0))
        dataset = dataset_of_channels(rec(tmp_path, (0, 1, 0), split="validation"))
        assert dataset.multi_label
        assert targets(dataset) == [[(1, 2), (0,), ()], [(1,)]]

    def test_a_file_that_is_cut_off(self, tmp_path: Path) -> None:
        path = rec(tmp_path, (0,), (1,)) / "train/train.rec"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(
            DataError, match=r"train\.rec, record 2 is cut off: .*; copy the file again, or make it again"
        ):
            dataset_of_channels(tmp_path)

    def test_every_wrong_record_is_named(self, tmp_path: Path) -> None:
        listed.write_rec(
            tmp_path / "train/train.rec",
            [
                ((0,), listed.jpeg(0, 0)),
                ((0.5,), listed.jpeg(0, 1)),
                ((1,), b"no image"),
                ((0, 7), listed.jpeg(0, 3)),
            ],
        )
        with pytest.raises(DataError) as raised:
            dataset_of_channels(tmp_path)
        text = str(raised.value)
        assert "train.rec, record 2: the label 0.5 is not the number of a class" in text
        assert "train.rec, record 3: there is no image after im2rec's header; make the file with im2rec" in text
        assert "train.rec, record 4: the label 7.0 is in a list of labels" in text

    def test_vectors_of_different_length(self, tmp_path: Path) -> None:
        rec(tmp_path, (0, 1), (1, 0, 0))
        with pytest.raises(DataError, match=r"(?s)differ in length.*record 1: 2 labels.*record 2: 3 labels"):
            dataset_of_channels(tmp_path)

    def test_a_channel_without_records(self, tmp_path: Path) -> None:
        listed.write_images(tmp_path / "validation", 1)
        with pytest.raises(DataError, match=r"validation holds no \.rec file"):
            dataset_of_channels(rec(tmp_path, (0,), (1,)))


class TestPipes:
    @pytest.mark.parametrize("labels", [(b"0", b"1", b"1"), (b'"0"', b'"1"', b"1.0")])
    def test_labels(self, tmp_path: Path, labels: tuple[bytes, ...]) -> None:
        dataset = dataset_of_channels(
            piped(tmp_path, *(part for label in labels for part in (listed.jpeg(0, 0), label))), seed=1
        )
        assert dataset.task == "classification"
        assert dataset.class_names == ("class_0", "class_1")
        assert sorted(chain(*targets(dataset))) == [0, 1, 1]
        assert str(dataset.train[0].image).startswith("train_0.records, record ")

    def test_names_and_several_labels(self, tmp_path: Path) -> None:
        pairs = [(listed.jpeg(0, 0), label) for label in (b"cat", b"dog", b'"dog"')]
        assert dataset_of_channels(piped(tmp_path / "a", *(part for pair in pairs for part in pair))).class_names == (
            "cat",
            "dog",
        )
        pairs = [(listed.jpeg(0, 0), label) for label in (b"[0,1,1]", b"[1,0,0]", b"[0,0,1]")]
        dataset = dataset_of_channels(piped(tmp_path / "b", *(part for pair in pairs for part in pair)))
        assert sorted(chain(*targets(dataset))) == [(0,), (1, 2), (2,)]

    def test_masks(self, tmp_path: Path) -> None:
        piped(tmp_path, *[listed.jpeg(0, 0), listed.png_mask()] * 2)
        dataset = dataset_of_channels(piped(tmp_path, listed.jpeg(0, 0), listed.png_mask(), split="validation"))
        assert dataset.task == "segmentation"
        assert read_mask_values(dataset.validation[0]).tolist() == listed.mask().tolist()

    @pytest.mark.parametrize(
        ("contents", "message"),
        [
            ((b"0", b"picture"), r"record 1 should be an image, but is not"),
            ((b"picture", b"0", b"{}", b"picture", b"0", b"{}"), r"record 3 should be an image, but is not"),
            ((b"picture", b"0", b"picture"), r"record 3 is an image without a following record"),
        ],
    )
    def test_other_attributes_than_two(self, tmp_path: Path, contents: tuple[bytes, ...], message: str) -> None:
        piped(tmp_path, *(listed.jpeg(0, 0) if content == b"picture" else content for content in contents))
        with pytest.raises(
            DataError, match=message + r'; give the channel two attributes.*AttributeNames=\["source-ref"'
        ):
            dataset_of_channels(tmp_path)

    def test_images_alone(self, tmp_path: Path) -> None:
        piped(tmp_path, *(listed.jpeg(0, index) for index in range(4)))
        with pytest.raises(DataError, match=r"train_0\.records, record 2: this is not a PNG mask"):
            dataset_of_channels(tmp_path)

    def test_values_that_are_not_labels(self, tmp_path: Path) -> None:
        piped(tmp_path, listed.jpeg(0, 0), b"-1", listed.jpeg(0, 1), b"\xff", listed.jpeg(0, 2), b" ")
        with pytest.raises(DataError) as raised:
            dataset_of_channels(tmp_path)
        assert "train_0.records, record 2: the label -1 is not the number of a class" in str(raised.value)
        assert "train_0.records, record 4: the label is not text" in str(raised.value)
        assert "train_0.records, record 6: the label is empty" in str(raised.value)
