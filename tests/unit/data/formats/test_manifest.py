from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trees import dataset_of_channels, labels, lay_out

from byoc_vision.data.formats import read_folder
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo

IMAGES = tuple(f"train/deep/{number}.jpg" for number in range(1, 5))


def line(number: int, **attributes: Any) -> str:
    return json.dumps({"source-ref": f"s3://bucket/prefix/deep/{number}.jpg"} | attributes)


def manifest(root: Path, *lines: str, name: str = "train/train.manifest") -> Path:
    return lay_out(root, IMAGES, {name: "\n".join(lines)})


def found(root: Path, **options: Any) -> dict[str, int | tuple[int, ...] | None]:
    dataset = dataset_of_channels(root, **options)
    return labels(dataset.train) | labels(dataset.validation)


@pytest.mark.parametrize("name", ["train/output.manifest", "train/a.jsonl", "train_manifest/a.json-lines"])
def test_class_numbers(tmp_path: Path, name: str) -> None:
    lines = (line(1, **{"class": 0}), line(2, **{"class": "1"}), line(3, **{"class": 1.0}), line(4, **{"class": '"0"'}))
    root = manifest(tmp_path, *lines, name=name)
    assert found(root) == {"1.jpg": 0, "2.jpg": 1, "3.jpg": 1, "4.jpg": 0}
    assert dataset_of_channels(root).class_names == ("class_0", "class_1")


def test_ground_truths_attribute_is_found_by_its_metadata(tmp_path: Path) -> None:
    def job(number: int, label: int, name: str) -> str:
        return line(number, size=7, **{"my-job": label, "my-job-metadata": {"class-name": name, "confidence": 0.9}})

    root = manifest(tmp_path, job(1, 1, "dog"), job(2, 0, "cat"), job(3, 1, "dog"), job(4, 0, "cat"))
    assert dataset_of_channels(root).class_names == ("cat", "dog")
    assert found(root)["1.jpg"] == 1
    lay_out(root, (), {"train/train.manifest": "\n".join([job(1, 0, "cat"), job(2, 0, "dog")])})
    with pytest.raises(DataError, match=r"line 2: the class 0 is called 'dog' here and 'cat' before"):
        dataset_of_channels(root)


def test_names_in_natural_order(tmp_path: Path) -> None:
    root = manifest(tmp_path, *(line(n, label=name) for n, name in enumerate(["x10", "x9", "x10", "x9"], 1)))
    assert dataset_of_channels(root).class_names == ("x9", "x10")


def test_lists_are_vectors_if_all_have_one_length_and_else_classes(tmp_path: Path) -> None:
    root = manifest(tmp_path, *(line(n, label=[0, 1, n % 2]) for n in range(1, 5)))
    assert found(root) == {"1.jpg": (1, 2), "2.jpg": (1,), "3.jpg": (1, 2), "4.jpg": (1,)}
    lay_out(
        root, (), {"train/train.manifest": "\n".join([line(1, label=[0, 1]), line(2, label=[2]), line(3, label=[])])}
    )
    assert found(root) == {"1.jpg": (0, 1), "2.jpg": (2,), "3.jpg": ()}


def test_a_class_map_says_that_lists_are_classes(tmp_path: Path) -> None:
    def job(number: int, *classes: int) -> str:
        return line(number, **{"j": list(classes), "j-metadata": {"class-map": {"0": "sky", "1": "sea"}}})

    root = manifest(tmp_path, job(1, 0, 1), job(2, 1, 0), job(3, 0, 1))
    assert dataset_of_channels(root).class_names == ("sky", "sea")
    assert set(found(root).values()) == {(0, 1)}
    with pytest.raises(DataError, match=r"(?s)multi_label is False.*train\.manifest, line 1: 2 labels"):
        dataset_of_channels(root, multi_label=False)


def test_masks_and_the_names_of_their_values(tmp_path: Path) -> None:
    colours = {
        "0": {"class-name": "BACKGROUND"},
        "7": {"class-name": "car"},
        "no number": {},
        "300": {"class-name": "x"},
    }

    def job(number: int) -> str:
        return line(
            number, **{"m-ref": f"s3://bucket/out/m{number}.png", "m-ref-metadata": {"internal-color-map": colours}}
        )

    lay_out(tmp_path, tuple(f"train_annotation/m{number}.png" for number in range(1, 5)), {})
    dataset = dataset_of_channels(manifest(tmp_path, *map(job, range(1, 5))))
    assert (dataset.task, dataset.ignore_value) == ("segmentation", 255)
    assert dataset.classes == (ClassInfo("BACKGROUND", 0), ClassInfo("car", 7))
    assert all(s.mask and s.mask.name == f"m{Path(s.image.name).stem}.png" for s in dataset.train)


def colours(*names: str) -> dict[str, Any]:
    """A line's metadata: the names of the values 0, 1, 2, …"""
    return {"internal-color-map": {str(value): {"class-name": name} for value, name in enumerate(names)}}


def masked(number: int, *names: str, attribute: str = "m-ref") -> str:
    return line(number, **{attribute: f"s3://bucket/out/m{number}.png", f"{attribute}-metadata": colours(*names)})


def test_each_line_has_a_map_of_its_own(tmp_path: Path) -> None:
    lay_out(tmp_path, tuple(f"train/m{number}.png" for number in range(1, 5)), {})
    lines = (
        masked(1, "BACKGROUND", "car", "road"),
        masked(2, "BACKGROUND", "road", "car"),
        masked(3, "BACKGROUND", "tree"),
        masked(4, "BACKGROUND", "car"),
    )
    dataset = dataset_of_channels(manifest(tmp_path, *lines))
    assert [(entry.name, entry.value) for entry in dataset.classes] == [
        ("BACKGROUND", 0), ("car", 1), ("road", 2), ("tree", 3),
    ]  # fmt: skip
    maps = {sample.image.name: sample.mask_map for sample in (*dataset.train, *dataset.validation)}
    assert maps["1.jpg"] is None
    assert maps["4.jpg"] is None
    assert maps["2.jpg"] is not None
    assert dict(maps["2.jpg"].values) == {0: 0, 1: 2, 2: 1, 255: 255}
    assert maps["3.jpg"] is not None
    assert dict(maps["3.jpg"].values)[1] == 3


def test_a_model_is_measured_by_its_own_values(tmp_path: Path) -> None:
    lay_out(tmp_path, ("train/m1.png",), {})
    root = manifest(tmp_path, masked(1, "BACKGROUND", "road", "car"))
    classes = [ClassInfo("BACKGROUND", 0), ClassInfo("car", 5), ClassInfo("road", 6)]
    [sample] = read_folder(root / "train", "segmentation", classes)
    assert sample.mask_map is not None
    assert dict(sample.mask_map.values) == {0: 0, 1: 6, 2: 5, 255: 255}


def both(number: int) -> str:
    """A line of chained jobs: labels of the whole image, twice, and a mask."""
    content = json.loads(masked(number, "BACKGROUND", "car"))
    for job, label in (("weather", number % 2), ("time", 1 - number % 2)):
        content |= {job: label, f"{job}-metadata": {"class-name": f"{job} {label}"}}
    return json.dumps(content)


def test_several_attributes_are_chosen_between(tmp_path: Path) -> None:
    lay_out(tmp_path, tuple(f"train/m{number}.png" for number in range(1, 5)), {})
    root = manifest(tmp_path, *map(both, range(1, 5)))
    with pytest.raises(InputError, match="several attributes that can be the labels: m-ref, weather, time; choose one"):
        dataset_of_channels(root)
    with pytest.raises(
        InputError, match="several attributes that can be the labels: weather, time; choose one with lab"
    ):
        dataset_of_channels(root, task="classification")
    assert dataset_of_channels(root, task="segmentation").task == "segmentation"
    assert dataset_of_channels(root, label_attribute="m-ref").task == "segmentation"
    assert dataset_of_channels(root, label_attribute="time").class_names == ("time 0", "time 1")
    with pytest.raises(
        InputError, match="label_attribute=car, but the manifests have no such attribute; they have: m-r"
    ):
        dataset_of_channels(root, label_attribute="car")


def test_what_ground_truth_did_not_label_is_named(tmp_path: Path) -> None:
    """Bounding boxes are refused with that word."""
    failed = line(1, **{"j-metadata": {"failure-reason": "no consensus"}})
    boxes = line(3, j={"annotations": [{"class_id": 0, "left": 1, "top": 1, "width": 2, "height": 2}]})
    root = manifest(tmp_path, failed, line(2, j=1), boxes)
    with pytest.raises(DataError) as raised:
        dataset_of_channels(root)
    assert "line 1: there is no label; add an attribute 'j' (Ground Truth: no consensus)" in str(raised.value)
    assert "line 3: 'j' holds bounding boxes, which are neither" in str(raised.value)


def test_masks_that_are_missing_are_named(tmp_path: Path) -> None:
    lay_out(tmp_path, ("train/1.png",), {})
    root = manifest(tmp_path, line(1, **{"m-ref": "s3://b/1.png"}), line(2, **{"m-ref": "s3://b/2.png"}), line(3))
    with pytest.raises(DataError) as raised:
        dataset_of_channels(root)
    text = str(raised.value)
    assert "train.manifest, line 2: there is no image 's3://b/2.png' in" in text
    assert "train.manifest, line 3: there is no attribute that ends with '-ref'" in text


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    wrong = ("{'class': 0}", "[]", '{"class": 0}', line(9, **{"class": 0}), line(2), line(3, **{"class": None}))
    root = manifest(tmp_path, line(1, **{"class": 0}), *wrong, line(4, **{"class": [[1]]}))
    with pytest.raises(DataError) as raised:
        dataset_of_channels(root)
    text = str(raised.value)
    place = f"{root}/train/train.manifest, line"
    example = 'a line looks like {"source-ref": "s3://bucket/1.jpg", "class": 0}'
    assert f"{place} 2: this is not a JSON object; {example}" in text
    assert f"{place} 3: this is not a JSON object" in text
    assert f"{place} 4: there is no 'source-ref' that names an image; {example}" in text
    assert f"{place} 5: there is no image 's3://bucket/prefix/deep/9.jpg' in {root}/train; add it" in text
    assert f"{place} 6: there is no label; add an attribute 'class'" in text
    assert f"{place} 7: 'class': the label None is not the number of a class" in text
    assert f"{place} 8: 'class': the label [1] is not the number of a class" in text
    assert f"{place} 1:" not in text


def test_two_classes_of_one_name(tmp_path: Path) -> None:
    lines = (line(n, **{"j": n % 2, "j-metadata": {"class-name": "same"}}) for n in range(1, 5))
    with pytest.raises(DataError, match="several classes have the name 'same'"):
        dataset_of_channels(manifest(tmp_path, *lines))


def test_numbers_and_names_are_not_mixed(tmp_path: Path) -> None:
    root = manifest(tmp_path, line(1, label=0), line(2, label="cat"))
    with pytest.raises(DataError, match=r"some labels are numbers \(.*line 1: 0\), others are names \(.*line 2: cat\)"):
        dataset_of_channels(root)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["class-name", "class-map"]), inner),
    max_leaves=5,
)
OBJECTS = st.dictionaries(
    st.sampled_from(["source-ref", "class", "x", "x-metadata", "m-ref", "m-ref-metadata"]),
    VALUES | st.sampled_from(["1.jpg", "s3://b/2.jpg", {"internal-color-map": {"1": 3}}]),
).map(json.dumps)


@settings(deadline=None)
@given(lines=st.lists(OBJECTS | st.text(max_size=20) | st.just("[" * 100_000), min_size=1, max_size=3))
def test_any_line_is_read_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    root = tmp_path_factory.mktemp("manifest")
    lay_out(root, ("train/1.jpg", "train/2.jpg"), {})
    (root / "train/train.manifest").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    with suppress(DataError, InputError):
        dataset_of_channels(root)
