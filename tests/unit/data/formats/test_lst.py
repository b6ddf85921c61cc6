from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trees import dataset_of_channels, labels, lay_out

from byoc_vision.data.formats import read_folder
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

IMAGES = ("train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "validation/3.jpg")
VALIDATION = {"validation/validation.lst": "3\t1\t3.jpg\n"}


def test_channels_as_the_built_in_algorithm_has_them(tmp_path: Path) -> None:
    lists = {
        "train_lst/train.lst": "0\t0\ta/1.jpg\r\n1\t1.000000\t./a/2.jpg\r\n\r\n2\t1\tb/1.jpg",
        "validation_lst/any name.lst": "\ufeff3\t1\t3.jpg\n",
    }
    dataset = dataset_of_channels(lay_out(tmp_path, IMAGES, lists))
    assert (dataset.task, dataset.multi_label) == ("classification", False)
    assert dataset.class_names == ("class_0", "class_1")
    assert [sample.label for sample in dataset.train] == [0, 1, 1]
    assert [str(sample.image) for sample in dataset.validation] == [str(tmp_path / "validation/3.jpg")]


def test_a_list_beside_the_images_and_one_for_each_split_in_one_channel(tmp_path: Path) -> None:
    lists = {"train/set_train.lst": "0\t0\ta/1.jpg\n1\t1\ta/2.jpg\n", "train/set_val.lst": "2\t1\tb/1.jpg\n"}
    dataset = dataset_of_channels(lay_out(tmp_path, IMAGES[:3], lists))
    assert [len(samples) for samples in dataset.splits.values()] == [2, 1]


def test_several_labels_are_a_vector(tmp_path: Path) -> None:
    lists = {"train/train.lst": "0\t0\t1\t1\ta/1.jpg\n1\t1\t0\t0\ta/2.jpg\n", "validation/v.lst": "0\t0\t0\t0\t3.jpg\n"}
    root = lay_out(tmp_path, IMAGES, lists)
    dataset = dataset_of_channels(root)
    assert dataset.multi_label
    assert dataset.class_names == ("class_0", "class_1", "class_2")
    assert [sample.labels for sample in dataset.train] == [(1, 2), (0,)]
    assert [sample.labels for sample in dataset.validation] == [()]
    with pytest.raises(DataError, match=r"(?s)multi_label is False.*train\.lst, line 1: 2 labels"):
        dataset_of_channels(root, multi_label=False)


def test_one_label_each_may_be_learnt_as_many(tmp_path: Path) -> None:
    lists = {"train/t.lst": "0\t0\ta/1.jpg\n1\t1\ta/2.jpg\n"} | VALIDATION
    assert [s.labels for s in dataset_of_channels(lay_out(tmp_path, IMAGES, lists), multi_label=True).train] == [
        (0,),
        (1,),
    ]


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    lines = (
        "0\t0\ta/1.jpg", "1\ta/2.jpg", "2\t0\t1\tb/1.jpg", "3\tcat\tb/1.jpg", "4\t1.5\tb/1.jpg", "5\t-1\tb/1.jpg",
        "6\t0\tgone.jpg", "7 0 a/2.jpg",
    )  # fmt: skip
    root = lay_out(tmp_path, IMAGES, {"train/train.lst": "\n".join(lines)} | VALIDATION)
    with pytest.raises(DataError) as raised:
        dataset_of_channels(root)
    text = str(raised.value)
    file = root / "train/train.lst"
    remedy = "a line is index<TAB>label<TAB>path, with the same number of labels in each"
    assert f"{file}, line 2: there are 1 tabs instead of 2; {remedy}" in text
    assert f"{file}, line 3: there are 3 tabs instead of 2; {remedy}" in text
    assert f"{file}, line 4: the label 'cat' is not the number of a class" in text
    assert f"{file}, line 5: the label '1.5' is not" in text
    assert f"{file}, line 6: the label '-1' is not" in text
    assert f"{file}, line 7: there is no image 'gone.jpg' in {root}/train; add it or remove the line" in text
    assert f"{file}, line 8: there are 0 tabs" in text
    assert "line 1:" not in text


def test_wrong_lines_may_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lists = {"train/t.lst": "0\t0\ta/1.jpg\n1\ta/2.jpg\n2\t1\tb/1.jpg\n"} | VALIDATION
    dataset = dataset_of_channels(lay_out(tmp_path, IMAGES, lists), on_bad_sample="skip")
    assert [sample.label for sample in dataset.train] == [0, 1]
    assert "line 2: there are 1 tabs" in caplog.text


def test_an_image_that_is_listed_twice(tmp_path: Path) -> None:
    lists = {"train/t.lst": "0\t0\ta/1.jpg\n1\t1\ta/2.jpg\n2\t1\ta/1.jpg\n"} | VALIDATION
    with pytest.raises(DataError, match=r"(?s)keep one line.*t\.lst, line 3: 1\.jpg is already listed in .*line 1"):
        dataset_of_channels(lay_out(tmp_path, IMAGES, lists))


def test_a_label_for_validation_alone(tmp_path: Path) -> None:
    lists = {"train/t.lst": "0\t0\ta/1.jpg\n1\t1\ta/2.jpg\n", "validation/v.lst": "3\t2\t3.jpg\n"}
    root = lay_out(tmp_path, IMAGES, lists)
    with pytest.raises(DataError, match=r"(?s)training labels give 2 classes.*v\.lst, line 1: label 2"):
        dataset_of_channels(root)
    with pytest.raises(DataError, match=r"(?s)labels that no training image has.*v\.lst, line 1: label 2"):
        dataset_of_channels(root, num_classes=3)


def test_labels_that_skip_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = lay_out(tmp_path, IMAGES, {"train/t.lst": "0\t1\ta/1.jpg\n1\t3\ta/2.jpg\n"} | VALIDATION)
    with pytest.raises(DataError, match=r"no training image has a label 0, 2, .*; number.*or set num_classes=4"):
        dataset_of_channels(root)
    assert len(dataset_of_channels(root, num_classes=5).classes) == 5
    assert "no training image has a label 0, 2, 4" in caplog.text
    with pytest.raises(DataError, match=r"(?s)num_classes gives 2 classes.*t\.lst, line 2: label 3"):
        dataset_of_channels(root, num_classes=2)


def test_vectors_of_different_length_or_other_numbers(tmp_path: Path) -> None:
    lists = {"train/t.lst": "0\t0\t1\ta/1.jpg\n1\t0\t2\ta/2.jpg\n", "validation/v.lst": "0\t1\t3.jpg\n"}
    with pytest.raises(DataError, match=r"line 2: the label '2' is in a list of labels, where each must be 0 or"):
        dataset_of_channels(lay_out(tmp_path, IMAGES, lists))


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all labels belong to one class \(class_0\); a classifier needs at least two"):
        dataset_of_channels(lay_out(tmp_path, IMAGES[:2], {"train/t.lst": "0\t0\ta/1.jpg\n1\t0\ta/2.jpg\n"}))


def test_lists_that_are_missing_double_or_empty(tmp_path: Path) -> None:
    root = lay_out(tmp_path, IMAGES, {"train/t.lst": "0\t0\ta/1.jpg\n1\t1\ta/2.jpg\n"})
    with pytest.raises(DataError, match=r"no list of the validation images in .*validation"):
        dataset_of_channels(root)
    lay_out(root, (), {"train/u.lst": ""})
    with pytest.raises(DataError, match=r"t\.lst and .*u\.lst both list train images; keep one of them"):
        dataset_of_channels(root)
    empty = lay_out(tmp_path / "empty", ("train/1.jpg",), {"train/t.lst": "\n"})
    with pytest.raises(DataError, match="name no training images"):
        dataset_of_channels(empty)


def test_a_model_is_measured_by_its_own_classes(tmp_path: Path) -> None:
    root = lay_out(tmp_path, IMAGES, VALIDATION)
    classes = [ClassInfo(f"class_{number}") for number in range(3)]
    assert labels(read_folder(root / "validation", "classification", classes)) == {"3.jpg": 1}
    with pytest.raises(DataError, match=r"(?s)the model has 1 classes.*line 1: label 1"):
        read_folder(root / "validation", "classification", classes[:1])


def test_a_list_written_on_windows_is_read(tmp_path: Path) -> None:
    root = lay_out(tmp_path, IMAGES, {"train/t.lst": "0\t0\ta\\1.jpg\r\n1\t1\ta\\2.jpg\r\n"} | VALIDATION)
    assert [sample.image.name for sample in dataset_of_channels(root).train] == ["1.jpg", "2.jpg"]


LINES = st.lists(st.sampled_from(["0", "1", "2", "x", "\t", "\n", "1.jpg", "2.jpg", "1e999", "nan", " "])).map("".join)


@settings(deadline=None)
@given(text=LINES | st.text(max_size=60))
def test_any_text_is_read_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("lst")
    lay_out(root, ("train/1.jpg", "train/2.jpg"), {})
    (root / "train/train.lst").write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(DataError):
        dataset_of_channels(root)
