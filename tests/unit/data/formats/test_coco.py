"""COCO's JSON: where it lies, its polygons and run lengths, crowds, ids with holes, and entries that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from support.drawn import CAR, HEIGHT, TREE, WIDTH, checked, labels, names, save_images, shown, write_json

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 90, "name": "tree"}]


def content(files: list[str], **changes: Any) -> dict[str, Any]:
    images = [{"id": 7 * i, "file_name": f, "width": WIDTH, "height": HEIGHT} for i, f in enumerate(files)]
    annotations = []
    for image in images:
        for category, points in ((3, CAR), (90, TREE)):
            annotation = {"id": len(annotations), "image_id": image["id"], "category_id": category, "iscrowd": 0}
            annotations.append(annotation | {"segmentation": [points], "bbox": [0, 0, 1, 1], "area": 1.5})
    found = {"info": {"year": 2026}, "images": images, "annotations": annotations, "categories": CATEGORIES}
    return found | changes


FILES = [f"{index}.jpg" for index in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_images(tmp_path, FILES)
    write_json(tmp_path / "_annotations.coco.json", content(FILES))
    return tmp_path


def rewrite(folder: Path, **changes: Any) -> Path:
    write_json(folder / "_annotations.coco.json", content(FILES, **changes))
    return folder


def test_category_ids_are_the_values(folder: Path) -> None:
    dataset = checked(folder)
    assert [(entry.name, entry.value) for entry in dataset.classes] == [("background", 0), ("car", 3), ("tree", 90)]
    assert shown(labels(dataset)) == {"car": 3, "tree": 90, "corner": 0}


def test_other_ids_are_counted_from_one(folder: Path) -> None:
    categories = [{"id": 0, "name": "car"}, {"id": 1000, "name": "tree"}]
    annotations = content(FILES)["annotations"]
    for one in annotations:
        one["category_id"] = {3: 0, 90: 1000}[one["category_id"]]
    dataset = checked(rewrite(folder, categories=categories, annotations=annotations))
    assert shown(labels(dataset)) == {"car": 1, "tree": 2, "corner": 0}


@pytest.mark.parametrize(
    ("train", "validation", "files"),
    [
        ("train2017", "val2017", ("annotations/instances_train2017.json", "annotations/instances_val2017.json")),
        ("images/train", "images/val", ("annotations/train.json", "annotations/val.json")),
        ("train", "valid", ("train/_annotations.coco.json", "valid/_annotations.coco.json")),
    ],
)
def test_the_usual_places(tmp_path: Path, train: str, validation: str, files: tuple[str, str]) -> None:
    """The images of the splits have the same names, as exports of several projects do."""
    for images, file, count in ((train, files[0], 5), (validation, files[1], 2)):
        save_images(tmp_path / images, FILES[:count])
        write_json(tmp_path / file, content(FILES[:count]))
    write_json(tmp_path / "annotations/captions_train2017.json", {"info": {}, "images": [], "annotations": []})
    dataset = checked(tmp_path)
    assert (len(dataset.train), len(dataset.validation)) == (5, 2)
    assert {one.image.parent.relative_to(tmp_path) for one in dataset.validation} == {Path(validation)}
    assert shown(labels(dataset)) == {"car": 3, "tree": 90, "corner": 0}


def test_a_channel_of_annotations(tmp_path: Path) -> None:
    save_images(tmp_path / "train", FILES)
    write_json(tmp_path / "train_annotation/instances.json", content(FILES))
    channels = {name: tmp_path / name for name in ("train", "train_annotation")}
    dataset = find_dataset(channels, DataOptions())
    assert names(dataset) == ["background", "car", "tree"]
    assert len(dataset.train) + len(dataset.validation) == 6


def test_other_keys_may_come_first(folder: Path) -> None:
    first = {"version": "1.0", "dataset": {"name": "mine"}}
    write_json(folder / "_annotations.coco.json", first | content(FILES))
    assert names(checked(folder)) == ["background", "car", "tree"]


def test_run_lengths_and_crowds(folder: Path) -> None:
    """A crowd belongs to its class, below the other shapes; both forms of run lengths are read."""
    whole = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    drawn[4:16, 4:20] = 1
    encoded = coco.encode(drawn)
    car = {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}
    annotations = [
        shape | {"image_id": 7 * index}
        for index in range(len(FILES))
        for shape in (
            {"category_id": 3, "segmentation": car},
            {"category_id": 90, "segmentation": whole, "iscrowd": 1},
        )
    ]
    mask = labels(checked(rewrite(folder, annotations=annotations)))
    assert np.array_equal(mask == 3, drawn == 1)
    assert ((mask == 90) == (drawn == 0)).all()


def test_an_image_without_shapes_is_background(folder: Path) -> None:
    annotations = [one for one in content(FILES)["annotations"] if one["image_id"] != 0]
    dataset = checked(rewrite(folder, annotations=annotations), validation_split=0.2)
    sample = next(one for one in (*dataset.train, *dataset.validation) if one.image.name == "0.jpg")
    assert not read_mask_values(sample).any()


def test_the_group_that_roboflow_puts_first_is_not_a_class(folder: Path) -> None:
    categories = [{"id": 0, "name": "things", "supercategory": "none"}]
    categories += [one | {"supercategory": "things"} for one in CATEGORIES]
    assert names(checked(rewrite(folder, categories=categories))) == ["background", "car", "tree"]


def test_bounding_boxes_alone_are_refused(folder: Path) -> None:
    annotations = [one | {"segmentation": []} for one in content(FILES)["annotations"]]
    with pytest.raises(DataError, match=r"_annotations.coco.json holds bounding boxes alone.*label polygons"):
        checked(rewrite(folder, annotations=annotations))


def test_wrong_entries_are_all_named(folder: Path) -> None:
    given = content(FILES)
    given["annotations"][0]["category_id"] = 4
    given["annotations"][2]["image_id"] = 99
    given["annotations"][5]["segmentation"] = []
    (folder / "3.jpg").unlink()
    write_json(folder / "_annotations.coco.json", given)
    with pytest.raises(DataError) as raised:
        checked(folder)
    for problem in (
        "annotation 2: there is no image with the id 99",
        "annotation 5 of 2.jpg is a bounding box without a polygon",
        "image 0 (0.jpg): there is no category with the id 4",
        "image 21 (3.jpg): there is no image '3.jpg'",
    ):
        assert problem in str(raised.value)
    assert len(find_dataset({"train": folder}, DataOptions(on_bad_sample="skip")).train) == 3


def test_all_kinds_of_faults_are_named_at_once(folder: Path) -> None:
    """Entries that are not COCO's, wrong references, and shapes that cannot be drawn."""
    given = content(FILES)
    del given["annotations"][2]["image_id"]
    given["annotations"][4]["category_id"] = None
    given["annotations"][6]["segmentation"] = [[x + 500 for x in CAR]]
    given["annotations"][7]["segmentation"] = [[1, 2, 3]]
    given["annotations"][8]["category_id"] = 4
    (folder / "5.jpg").unlink()
    write_json(folder / "_annotations.coco.json", given)
    with pytest.raises(DataError) as raised:
        checked(folder)
    for problem in (
        "Object missing required field `image_id` - at annotations[2]",
        "Expected `int | str`, got `null` - at annotations[4]",
        "image 21 (3.jpg), shape 1: the polygon lies outside of the image",
        "; shape 2: a polygon has 3 or more points",
        "image 28 (4.jpg): there is no category with the id 4",
        "image 35 (5.jpg): there is no image '5.jpg'",
    ):
        assert problem in str(raised.value)


def test_all_broken_files_are_named_at_once(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save_images(tmp_path / split, FILES)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / f"annotations/instances_{split}.json").write_text('{"images": [', encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)instances_train.json is not valid.*instances_val.json is not valid"):
        find_dataset({"train": tmp_path}, DataOptions(on_bad_sample="skip"))


def test_polygons_outside_of_the_image_are_named_by_the_check(folder: Path) -> None:
    given = content(FILES)
    for one in given["annotations"][:6:2]:
        one["segmentation"] = [[x + 500 for x in CAR]]
    write_json(folder / "_annotations.coco.json", given)
    with pytest.raises(DataError, match="3 of 6 samples cannot be used") as raised:
        checked(folder)
    assert "_annotations.coco.json, image 0 (0.jpg), shape 1: the polygon lies outside of the image" in str(
        raised.value
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"images": [{"id": 1}]}', r"is not valid COCO JSON: .*file_name.*images"),
        ('{"images": [{"id": 1, "file_name": "a.jpg"', "is not valid COCO JSON: .*truncated"),
        ('{"images": 5}', "is not valid COCO JSON: Expected `array`"),
    ],
)
def test_broken_json(folder: Path, text: str, problem: str) -> None:
    (folder / "_annotations.coco.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"_annotations.coco.json {problem}"):
        checked(folder)


def test_a_model_finds_its_classes_by_name(folder: Path) -> None:
    model = (ClassInfo("tree", 0), ClassInfo("background", 1))
    mask = read_mask_values(read_folder(folder, "segmentation", model)[0])
    assert shown(mask) == {"car": 255, "tree": 0, "corner": 1}
