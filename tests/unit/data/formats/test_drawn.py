"""The exports of labelling tools with shapes: the same car and tree in each, and entries that are wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.drawn import BOTH, CAR, HEIGHT, TREE, WIDTH, checked, labels, names, save_images, shown, write_json
from support.images import encode

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

STEMS = [str(index) for index in range(6)]
ROW_OF = {"car": 0, "tree": 1}


def pairs(points: list[int]) -> list[list[int]]:
    return [points[at : at + 2] for at in range(0, len(points), 2)]


def labelme(folder: Path, **shape: Any) -> Path:
    """shape: what differs in each shape of 0.json."""
    save_images(folder, [f"{stem}.jpg" for stem in STEMS])
    for stem in STEMS:
        shapes = [{"label": label, "points": pairs(points), "shape_type": "polygon"} for label, points in BOTH]
        if stem == "0":
            shapes = [one | shape for one in shapes]
        content = {"version": "5.0", "flags": {}, "shapes": shapes, "imagePath": f"{stem}.jpg", "imageData": "AAAA"}
        write_json(folder / f"{stem}.json", content | {"imageHeight": HEIGHT, "imageWidth": WIDTH})
    return folder


def yolo_line(label: str, points: list[int]) -> str:
    shares = [f"{x / WIDTH:.5f} {y / HEIGHT:.5f}" for x, y in pairs(points)]
    return f"{ROW_OF[label]} {' '.join(shares)}"


def yolo(folder: Path, **lines: str) -> Path:
    """lines: the content of the text file of an image, such as `image_0`."""
    save_images(folder / "images", [f"{stem}.jpg" for stem in STEMS])
    (folder / "labels").mkdir()
    for stem in STEMS:
        text = lines.get(f"image_{stem}", "\n".join(yolo_line(*shape) for shape in BOTH))
        (folder / f"labels/{stem}.txt").write_text(text, encoding="utf-8")
    (folder / "data.yaml").write_text("nc: 2\nnames:\n  0: car\n  1: tree\n", encoding="utf-8")
    return folder


def cvat_shape(label: str, points: list[int]) -> str:
    text = ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs(points))
    return f'<polygon label="{label}" points="{text}" z_order="0"></polygon>'


def cvat(folder: Path, first: str = "", head: str = "") -> Path:
    """first: the shapes of the first image. head: before the root element."""
    save_images(folder / "images", [f"{stem}.jpg" for stem in STEMS])
    listed = "".join(f"<label><name>{name}</name><color>#ff0000</color></label>" for name in ("car", "tree"))
    body = ""
    for stem in STEMS:
        shapes = "".join(cvat_shape(*shape) for shape in BOTH)
        shapes = first if first and stem == "0" else shapes
        body += f'<image id="{stem}" name="{stem}.jpg" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    text = f"<annotations><version>1.1</version><meta><job><labels>{listed}</labels></job></meta>{body}</annotations>"
    (folder / "annotations.xml").write_text(f'<?xml version="1.0" encoding="utf-8"?>{head}{text}', encoding="utf-8")
    return folder


EXPORTS: tuple[Callable[[Path], Path], ...] = (labelme, yolo, cvat)


@pytest.mark.parametrize("export", EXPORTS)
def test_shapes_become_labels(tmp_path: Path, export: Callable[[Path], Path]) -> None:
    dataset = checked(export(tmp_path))
    assert len(dataset.train) + len(dataset.validation) == 6
    assert names(dataset) == ["background", "car", "tree"]
    assert shown(labels(dataset)) == {"car": 1, "tree": 2, "corner": 0}


@pytest.mark.parametrize("export", EXPORTS)
def test_a_model_finds_its_classes_by_name(tmp_path: Path, export: Callable[[Path], Path]) -> None:
    model = (ClassInfo("background", 9), ClassInfo("tree", 4))
    mask = read_mask_values(read_folder(export(tmp_path), "segmentation", model)[0])
    assert shown(mask) == {"car": 255, "tree": 4, "corner": 9}


@pytest.mark.parametrize("export", EXPORTS)
def test_folders_of_splits(tmp_path: Path, export: Callable[[Path], Path]) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / split).mkdir()
        export(tmp_path / split)
    dataset = checked(tmp_path)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {
        "train": 6,
        "validation": 6,
        "test": 6,
    }


def test_yolo_with_splits_below_images_and_labels(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save_images(tmp_path / "images" / split, ["1.jpg", "2.jpg", "3.jpg"])
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / f"labels/{split}/1.txt").write_text(yolo_line("car", CAR), encoding="utf-8")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [car, tree]\n", encoding="utf-8")
    dataset = checked(tmp_path)
    assert (len(dataset.train), len(dataset.validation)) == (3, 3)
    assert shown(labels(dataset)) == {"car": 1, "tree": 0, "corner": 0}
    assert not labels(dataset, lambda image: image.name == "2.jpg").any(), "an image without a text file is background"


def test_the_labels_of_labelme_have_the_order_of_its_list(tmp_path: Path) -> None:
    (labelme(tmp_path) / "labels.txt").write_text("__ignore__\n_background_\ntree\ncar\n", encoding="utf-8")
    dataset = checked(tmp_path)
    assert names(dataset) == ["background", "tree", "car"]
    assert shown(labels(dataset)) == {"car": 2, "tree": 1, "corner": 0}


def test_other_shapes_of_labelme(tmp_path: Path) -> None:
    """A rectangle, a circle, a mask whose corner it names, and what does not count."""
    labelme(tmp_path)
    brush = base64.b64encode(encode(np.full((3, 4), 255, np.uint8))).decode()
    shapes = [
        {"label": "car", "points": [[4, 4], [20, 16]], "shape_type": "rectangle"},
        {"label": "tree", "points": [[34, 24], [34, 28]], "shape_type": "circle"},
        {"label": "__ignore__", "points": [[40, 0], [43, 2]], "shape_type": "mask", "mask": brush},
    ]
    content = {"shapes": shapes, "imagePath": "0.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    write_json(tmp_path / "0.json", content)
    dataset = checked(tmp_path)
    sample = next(one for one in (*dataset.train, *dataset.validation) if one.image.name == "0.jpg")
    mask = read_mask_values(sample)
    assert shown(mask) == {"car": 1, "tree": 2, "corner": 0}
    assert (mask[0:3, 40:44] == 255).all()
    assert np.count_nonzero(mask == 255) == 12


def test_other_shapes_of_cvat(tmp_path: Path) -> None:
    """A brushed mask lies over an ellipse by its order."""
    mask = '<mask label="car" rle="1, 2, 1" left="10" top="9" width="2" height="2" z_order="1"/>'
    ellipse = '<ellipse label="tree" cx="12" cy="10" rx="8" ry="4" z_order="0"/>'
    dataset = checked(cvat(tmp_path, first=mask + ellipse))
    sample = next(one for one in (*dataset.train, *dataset.validation) if one.image.name == "0.jpg")
    found = read_mask_values(sample)
    assert found[9:11, 10:12].tolist() == [[2, 1], [1, 2]]


@pytest.mark.parametrize(
    ("export", "changes"),
    [
        (labelme, {"points": [[1, 1], [9, 9]], "shape_type": "rectangle"}),
        (yolo, {f"image_{stem}": "0 0.5 0.5 0.2 0.2" for stem in STEMS}),
        (cvat, {"first": '<box label="car" xtl="1" ytl="1" xbr="9" ybr="9"/>'}),
    ],
)
def test_bounding_boxes_alone_are_refused(tmp_path: Path, export: Callable[..., Path], changes: dict[str, Any]) -> None:
    folder = export(tmp_path, **changes)
    if export is labelme:
        for path in folder.glob("[1-5].json"):
            path.write_bytes((folder / "0.json").read_bytes())
    if export is cvat:
        text = (folder / "annotations.xml").read_text(encoding="utf-8")
        (folder / "annotations.xml").write_text("".join(
            part for part in text.replace("</polygon>", "<polygon").split("<polygon") if "points=" not in part
        ), encoding="utf-8")  # fmt: skip
    with pytest.raises(DataError, match=r"holds bounding boxes alone.*label polygons"):
        checked(folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "Annotations/1.xml",
            "<annotation><object><name>car</name><bndbox><xmin>1</xmin></bndbox></object></annotation>",
        ),
        ("boxes.csv", "filename,class,xmin,ymin,xmax,ymax\n0.jpg,car,1,1,9,9\n"),
    ],
)
@pytest.mark.parametrize("images", ["JPEGImages", ""])
def test_the_boxes_of_object_detection_are_refused(tmp_path: Path, name: str, text: str, images: str) -> None:
    save_images(tmp_path / images, [f"{stem}.jpg" for stem in STEMS])
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name} holds bounding boxes alone.*label polygons"):
        checked(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "tool"),
    [
        ("via.json", '{"0.jpg1": {"regions": [{"shape_attributes": {"name": "polygon"}}]}}', "the VGG Image Annotator"),
        ("ds/ann/0.jpg.json", '{"objects": [{"classTitle": "car"}]}', "Supervisely"),
    ],
)
def test_the_json_of_other_tools_is_named(tmp_path: Path, name: str, text: str, tool: str) -> None:
    save_images(tmp_path / ("ds/img" if "/" in name else "."), ["0.jpg", "1.jpg"])
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name} is the JSON of {tool}, which is not read; export COCO JSON"):
        find_dataset({"train": tmp_path}, DataOptions())


def test_wrong_entries_of_labelme_are_all_named(tmp_path: Path) -> None:
    labelme(tmp_path, shape_type="linestrip")
    (tmp_path / "1.json").write_text('{"shapes": [', encoding="utf-8")
    (tmp_path / "2.jpg").unlink()
    file = json.loads((tmp_path / "3.json").read_text(encoding="utf-8"))
    file["shapes"] = [{"label": "car", "points": [[500, 500], [600, 500], [600, 600]], "shape_type": "polygon"}]
    write_json(tmp_path / "3.json", file)
    with pytest.raises(DataError) as raised:
        checked(tmp_path)
    for problem in (
        "3.json, image 3.jpg, shape 1: the polygon lies outside of the image",
        "0.json, shape 1 (car): a linestrip of 4 points is not an area",
        "1.json is not valid LabelMe JSON",
        "2.json: there is no image '2.jpg'",
    ):
        assert problem in str(raised.value)
    assert len(find_dataset({"train": tmp_path}, DataOptions(on_bad_sample="skip")).train) == 2


@pytest.mark.parametrize("broken", ["0.json", "1.json"])
def test_files_of_labelme_that_are_cut_short_are_named(tmp_path: Path, broken: str) -> None:
    """Whichever it is: the format is still recognised."""
    (labelme(tmp_path) / broken).write_text('{"version": "5.0", "shapes": [', encoding="utf-8")
    with pytest.raises(DataError, match=rf"{broken} is not valid LabelMe JSON"):
        checked(tmp_path)


def test_labels_that_the_list_of_labelme_lacks_are_named(tmp_path: Path) -> None:
    (labelme(tmp_path) / "labels.txt").write_text("__ignore__\n_background_\ncar\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)0.json: labels.txt does not contain 'tree'.*1.json: labels.txt"):
        checked(tmp_path)


def test_wrong_lines_of_yolo_are_all_named(tmp_path: Path) -> None:
    yolo(
        tmp_path,
        image_0=yolo_line("car", CAR) + "\n7 0.1 0.1 0.2 0.1 0.2 0.2",
        image_1="0 0.5 0.5 0.2 0.2",
        image_2="car 0.1 0.1 0.2 0.1 0.2 0.2",
        image_3="0 0.1 0.1 0.2",
        image_4="0 10 10 20 10 20 20",
    )
    (tmp_path / "labels/elsewhere.txt").write_text(yolo_line("car", CAR), encoding="utf-8")
    (tmp_path / "labels/5.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(DataError) as raised:
        checked(tmp_path)
    for problem in (
        "0.txt, line 2: there is no class 7; the file of the classes names 0–1",
        "1.txt, line 1: this is a bounding box, not a polygon",
        "2.txt, line 1: a line is a class and x, y of three or more corners, not 'car 0.1",
        "3.txt, line 1: a line is a class and x, y of three or more corners",
        "4.txt, image 4.jpg, shape 1: the polygon lies outside of the image",
        "5.txt is not UTF-8 text",
        "elsewhere.txt: there is no image for it",
    ):
        assert problem in str(raised.value)


def test_coordinates_in_pixels_are_outside_of_the_image(tmp_path: Path) -> None:
    yolo(tmp_path, image_0="0 10 10 20 10 20 20")
    with pytest.raises(DataError, match=r"0.txt, image 0.jpg, shape 1: the polygon lies outside of the image"):
        checked(tmp_path)


def test_wrong_entries_of_cvat_are_all_named(tmp_path: Path) -> None:
    cvat(
        tmp_path,
        first='<polyline label="car" points="1,1;2,2"/><polygon label="bush" points="1,a"/>',
    )
    (tmp_path / "images/3.jpg").unlink()
    path = tmp_path / "annotations.xml"
    far = cvat_shape("car", [x + 500 for x in CAR])
    path.write_text(path.read_text(encoding="utf-8").replace(cvat_shape("car", CAR), far, 1), encoding="utf-8")
    with pytest.raises(DataError) as raised:
        checked(tmp_path)
    assert "image 0 (0.jpg), polyline 1 (car): this is not an area" in str(raised.value)
    assert "image 0 (0.jpg), polygon 2 (bush): could not convert string to float: 'a'" in str(raised.value)
    assert "image 0 (0.jpg): there is no label 'bush' in the list of the task: car, tree" in str(raised.value)
    assert "image 1 (1.jpg), shape 1: the polygon lies outside of the image" in str(raised.value)
    assert "image 3 (3.jpg): there is no image '3.jpg'" in str(raised.value)


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ('<!DOCTYPE a [<!ENTITY x "yyyy"><!ENTITY z "&x;&x;&x;">]>', "declares a document type or entities"),
        ("<broken>", "is not valid XML"),
        (None, "is not valid XML: unknown encoding"),
    ],
)
def test_xml_that_is_refused(tmp_path: Path, head: str | None, problem: str) -> None:
    path = cvat(tmp_path, head=head or "") / "annotations.xml"
    if head is None:
        path.write_text(path.read_text(encoding="utf-8").replace("utf-8", "utf-99", 1), encoding="utf-8")
    with pytest.raises(DataError, match=rf"annotations.xml {problem}"):
        checked(tmp_path)


def test_the_names_of_yolo_must_be_names(tmp_path: Path) -> None:
    (yolo(tmp_path) / "data.yaml").write_text("nc: 2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"data.yaml: .*names.*it names the classes like this"):
        checked(tmp_path)


def test_polygons_of_the_tree_are_triangles(tmp_path: Path) -> None:
    mask = labels(checked(yolo(tmp_path)))
    assert np.count_nonzero(mask == 2) == pytest.approx(0.5 * 20 * 18, abs=15), TREE
