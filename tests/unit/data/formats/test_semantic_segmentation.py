from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import camvid_tree, semantic_segmentation_tree
from support.trees import dataset_of_channels

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.formats.semantic_segmentation import read_label_map
from byoc_vision.data.preflight import check
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo


def write(folder: Path, content: object) -> Path:
    path = folder / "train_label_map.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("scale", ["3", 3])
def test_a_scale_divides(tmp_path: Path, scale: object) -> None:
    label_map = read_label_map(write(tmp_path, {"scale": scale}))
    assert [label_map.values[value] for value in (0, 2, 3, 5, 254, 255)] == [0, 0, 1, 1, 84, 255]
    assert label_map.labels is None


def test_a_map_goes_from_label_to_pixel_value(tmp_path: Path) -> None:
    label_map = read_label_map(write(tmp_path, {"map": {"0": 0, "1": "127", "2": 254}}))
    assert label_map.values == {0: 0, 127: 1, 254: 2, 255: 255}
    assert label_map.labels == (0, 1, 2)


def test_a_pixel_value_may_be_left_uncounted(tmp_path: Path) -> None:
    label_map = read_label_map(write(tmp_path, {"map": {"0": 1, "1": 2, "255": 0}}))
    assert label_map.values == {0: 255, 1: 0, 2: 1, 255: 255}
    assert label_map.labels == (0, 1)


@given(labels=st.dictionaries(st.integers(0, 253), st.integers(0, 254), min_size=1, max_size=40))
def test_each_label_finds_its_value_again(labels: dict[int, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("map"), {"map": {str(label): value for label, value in labels.items()}})
    if len(set(labels.values())) < len(labels):
        with pytest.raises(DataError, match=r"the pixel value [0-9]+ has the labels .* it can have one"):
            read_label_map(path)
    else:
        found = read_label_map(path)
        assert {label: found.values[value] for label, value in labels.items()} == {label: label for label in labels}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"scale": ', r"is not JSON: .*Expected: \{\"scale\""),
        ([], r"neither of 'scale' and 'map'"),
        ({}, r"neither of 'scale' and 'map'"),
        ({"scale": 1, "map": {"0": 0}}, r"both of 'scale' and 'map'; give one of them"),
        ({"scale": 0}, r"scale is 0; give a whole number from 1 to 254"),
        ({"scale": "2.5"}, r"scale is '2\.5'; give a whole number"),
        ({"scale": True}, r"scale is True; give a whole number"),
        ({"map": {}}, r"map must be an object with at least one entry"),
        ({"map": [0, 1]}, r"map must be an object"),
        ({"map": {"254": 0}}, r"the label '254' is not a whole number from 0 to 253"),
        ({"map": {"road": 0}}, r"the label 'road' is not a whole number"),
        ({"map": {"1": 256}}, r"the pixel value 256 of label 1 is not a whole number from 0 to 255"),
        ({"map": {"1": None}}, r"the pixel value None of label 1"),
        ({"map": {"1": 255}}, r"label 1 has the pixel value 255, which is always ignored"),
        ({"map": {"0": 9, "1": "9"}}, r"the pixel value 9 has the labels 0 and 1; it can have one"),
        ('{"map": {"1": 4, "1": 5}}', r"label '1' is given twice"),
    ],
)
def test_maps_that_cannot_be_meant(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)train_label_map\.json.*{said}"):
        read_label_map(write(tmp_path, content))


def test_labels_too_large_recall_the_direction(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its keys are the training labels, its values the pixel values"):
        read_label_map(write(tmp_path, {"map": {"0": 0, "127": 1, "254": 2}}))


MAP = {"map": {"0": 60, "1": 120, "2": 180}}


def values(dataset: Dataset) -> set[int]:
    return {int(value) for held in dataset.splits.values() for s in held for value in np.unique(read_mask_values(s))}


def test_a_map_names_the_classes(tmp_path: Path) -> None:
    dataset = dataset_of_channels(semantic_segmentation_tree(tmp_path, MAP, (60, 180, 255)))
    assert dataset.classes == tuple(ClassInfo(f"class_{label}", label) for label in range(3))
    assert dataset.ignore_value == 255
    assert [len(samples) for samples in dataset.splits.values()] == [4, 2]
    assert values(dataset) == {0, 2, 255}


def test_a_scale_leaves_the_classes_to_the_masks_or_to_num_classes(tmp_path: Path) -> None:
    semantic_segmentation_tree(tmp_path, {"scale": "60"}, (60, 130, 255))
    assert dataset_of_channels(tmp_path).classes == ()
    dataset = dataset_of_channels(tmp_path, num_classes=4)
    assert [entry.value for entry in dataset.classes] == [0, 1, 2, 3]
    assert values(dataset) == {1, 2, 255}


def test_a_map_that_is_turned_round_is_found_by_the_masks(tmp_path: Path) -> None:
    semantic_segmentation_tree(tmp_path, {"map": {"60": 0, "120": 1, "180": 2}}, (60, 180, 255))
    with pytest.raises(DataError) as raised:
        read_mask_values(dataset_of_channels(tmp_path).train[0])
    text = str(raised.value)
    assert f"{tmp_path}/train_annotation/street_0.png holds the values 60, 180" in text
    assert f"{tmp_path}/label_map/train_label_map.json does not contain" in text
    assert "the map seems to be inverted: its keys are the training labels, its values the pixel values" in text


def test_a_value_that_is_on_neither_side(tmp_path: Path) -> None:
    semantic_segmentation_tree(tmp_path, MAP, (60, 77, 255))
    with pytest.raises(DataError, match=r"holds the values 77, which .* does not contain; fix the mask or the map"):
        read_mask_values(dataset_of_channels(tmp_path).train[0])


def test_num_classes_is_checked_against_the_map(tmp_path: Path) -> None:
    semantic_segmentation_tree(tmp_path, MAP, (60, 180, 255))
    assert len(dataset_of_channels(tmp_path, num_classes=5).classes) == 5
    with pytest.raises(DataError, match=r"train_label_map\.json: map has the labels 2, but num_classes is 2"):
        dataset_of_channels(tmp_path, num_classes=2)


@pytest.mark.parametrize("options", [{}, {"num_classes": 3}])
def test_ignore_index_leaves_out_a_label_as_well(tmp_path: Path, options: dict[str, Any]) -> None:
    dataset = dataset_of_channels(semantic_segmentation_tree(tmp_path, MAP, (60, 180, 255)), ignore_index=1, **options)
    assert [entry.value for entry in dataset.classes] == [0, 2]
    assert dataset.ignore_value == 1
    assert values(dataset) == {0, 1, 2}


class TestWhereTheMapLies:
    def test_one_file_is_for_all_splits(self, tmp_path: Path) -> None:
        semantic_segmentation_tree(tmp_path, MAP, (60, 180, 255))
        (tmp_path / "label_map/validation_label_map.json").unlink()
        (tmp_path / "label_map/train_label_map.json").rename(tmp_path / "label_map/map.json")
        assert values(dataset_of_channels(tmp_path)) == {0, 2, 255}

    def test_each_split_has_its_own(self, tmp_path: Path) -> None:
        semantic_segmentation_tree(tmp_path, MAP, (60, 180, 255))
        (tmp_path / "label_map/validation_label_map.json").write_text(json.dumps({"map": {"1": 60, "2": 180}}))
        dataset = dataset_of_channels(tmp_path)
        assert set(np.unique(read_mask_values(dataset.train[0]))) == {0, 2, 255}
        assert set(np.unique(read_mask_values(dataset.validation[0]))) == {1, 2, 255}

    def test_a_split_without_one_among_several(self, tmp_path: Path) -> None:
        semantic_segmentation_tree(tmp_path, MAP, (60, 180, 255))
        for name in ("test", "test_annotation"):
            shutil.copytree(tmp_path / name.replace("test", "validation"), tmp_path / name)
        with pytest.raises(DataError, match=r"which label map is for test\? .* test_label_map\.json"):
            dataset_of_channels(tmp_path)

    def test_channels_of_a_map_each(self, tmp_path: Path) -> None:
        semantic_segmentation_tree(tmp_path, MAP, (60, 180, 255))
        for split in ("train", "validation"):
            (tmp_path / f"{split}_label_map").mkdir()
            (tmp_path / f"label_map/{split}_label_map.json").rename(tmp_path / f"{split}_label_map/map.json")
        (tmp_path / "label_map").rmdir()
        assert values(dataset_of_channels(tmp_path)) == {0, 2, 255}

    def test_all_in_one_channel(self, tmp_path: Path) -> None:
        semantic_segmentation_tree(tmp_path / "train", MAP, (60, 180, 255))
        assert values(dataset_of_channels(tmp_path)) == {0, 2, 255}

    def test_where_a_folder_is_measured_its_map_counts_too(self, tmp_path: Path) -> None:
        semantic_segmentation_tree(tmp_path, MAP, (60, 180, 255))
        for folder in (tmp_path, tmp_path / "validation"):
            samples = read_folder(folder, "segmentation", [])
            assert {sample.image.parent.name for sample in samples} == {"validation"}
            assert set(np.unique(read_mask_values(samples[0]))) == {0, 2, 255}

    def test_it_counts_for_other_layouts_too(self, tmp_path: Path) -> None:
        camvid_tree(tmp_path)
        (tmp_path / "label_map").mkdir()
        (tmp_path / "label_map/map.json").write_text('{"scale": 1}')
        assert find_dataset({"train": tmp_path}, DataOptions(num_classes=12)).class_names[0] == "class_0"


def test_without_a_map_it_is_read_by_its_name_alone(tmp_path: Path) -> None:
    semantic_segmentation_tree(tmp_path, values=(0, 1, 255))
    assert dataset_of_channels(tmp_path).ignore_value is None  # images with masks: the masks will say
    dataset = dataset_of_channels(tmp_path, layout="semantic_segmentation", num_classes=2)
    assert (dataset.ignore_value, [entry.value for entry in dataset.classes]) == (255, [0, 1])
    assert dataset.train[0].mask_map is None
    ignored = dataset_of_channels(tmp_path, layout="semantic_segmentation", ignore_index=0)
    assert values(ignored) == {0, 1}
    (tmp_path / "train_annotation").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="data_layout=semantic_segmentation, but"):
        dataset_of_channels(tmp_path, layout="semantic_segmentation")


def test_255_is_not_counted_where_it_is_one_of_two_values(tmp_path: Path) -> None:
    """Elsewhere masks of 0 and 255 mean foreground on background."""
    semantic_segmentation_tree(tmp_path, {"scale": "60"}, (0, 0, 255))
    with pytest.raises(DataError, match=r"hold only the value 0 beside the ignored 255"):
        check(dataset_of_channels(tmp_path), DataOptions())
