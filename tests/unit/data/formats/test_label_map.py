"""The label maps of the built-in Semantic Segmentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.formats.label_map import read_label_map
from byoc_vision.errors import DataError


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
        ({"map": {}}, r"map must be an object of one entry or more"),
        ({"map": [0, 1]}, r"map must be an object"),
        ({"map": {"254": 0}}, r"the label '254' is no whole number from 0 to 253"),
        ({"map": {"road": 0}}, r"the label 'road' is no whole number"),
        ({"map": {"1": 256}}, r"the pixel value 256 of label 1 is no whole number from 0 to 255"),
        ({"map": {"1": None}}, r"the pixel value None of label 1"),
        ({"map": {"1": 255}}, r"label 1 has the pixel value 255, which is never counted"),
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
