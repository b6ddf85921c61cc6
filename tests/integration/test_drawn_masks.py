"""Jobs on masks in colours and on shapes: from the data to a prediction, through training, `prepare` and `evaluate`."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.drawn import CAR, HEIGHT, TREE, WIDTH, save_images, write_json
from support.images import draw_scene, save_image
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_serve.encode import Encoder
from byoc_serve.response_format import ResponseFormat
from byoc_vision.cli import main
from byoc_vision.inference.predictor import Predictor
from byoc_vision.paths import MlPaths
from byoc_vision.types import ClassInfo

FILES = [f"{index}.jpg" for index in range(8)]
JOB = {"model": "unet_small", "image_size": "32", "epochs": "1", **QUICK, "batch_size": "4", "num_workers": "1"}


@pytest.fixture
def paths(tmp_path: Path) -> MlPaths:
    return MlPaths(tmp_path / "ml")


def write_coco(folder: Path) -> Path:
    images = [{"id": at, "file_name": name, "height": HEIGHT, "width": WIDTH} for at, name in enumerate(FILES)]
    shapes = [
        {"image_id": at, "category_id": number, "segmentation": [points], "iscrowd": 0}
        for at in range(len(FILES))
        for number, points in ((3, CAR), (90, TREE))
    ]
    categories = [{"id": 3, "name": "car"}, {"id": 90, "name": "tree"}]
    save_images(folder, FILES)
    write_json(folder / "instances.json", {"images": images, "annotations": shapes, "categories": categories})
    return folder


def write_colours(folder: Path) -> Path:
    for index in range(len(FILES)):
        image, inside = draw_scene(index)
        save_image(folder / f"images/{index}.jpg", image)
        save_image(folder / f"masks/{index}.png", np.where(inside[..., None], (128, 0, 64), (9, 9, 9)).astype(np.uint8))
    (folder / "labelmap.txt").write_text("ground:9,9,9::\nthing:128,0,64::\n", encoding="utf-8")
    return folder


def test_coco_json_is_trained_on_and_evaluated(paths: MlPaths, tmp_path: Path) -> None:
    write_hyperparameters(paths, JOB)
    folder = write_coco(paths.channel("train"))
    assert run_train(paths) == 0, paths.failure.read_text()
    predictor = Predictor.load(paths.model, "cpu")
    assert predictor.config.classes == (ClassInfo("background", 0), ClassInfo("car", 3), ClassInfo("tree", 90))
    assert {"iou_car", "iou_tree"} <= set(re.findall(r"iou_\w+", json.dumps(read_metrics(paths))))
    assert main(["evaluate", str(paths.model), str(folder), "--output", str(tmp_path / "metrics.json")]) == 0
    assert "iou_tree" in (tmp_path / "metrics.json").read_text(encoding="utf-8")


def test_coco_json_is_prepared_as_channels(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "data")
    out = tmp_path / "channels"
    assert main(["prepare", "auto", "--source", str(folder), "--output", str(out)]) == 0
    mask = np.asarray(Image.open(next((out / "train_annotation").iterdir())))
    assert (mask[10, 12], mask[24, 34], mask[0, 0]) == (3, 90, 0)
    report = tmp_path / "report.json"
    assert main(["check", str(out), "--json", str(report)]) == 0
    classes = json.loads(report.read_text(encoding="utf-8"))["classes"]
    assert [(entry["name"], entry["value"]) for entry in classes] == [("background", 0), ("car", 3), ("tree", 90)]


def test_a_model_of_masks_in_colours_predicts_numbers_or_the_same_colours(paths: MlPaths, tmp_path: Path) -> None:
    write_hyperparameters(paths, JOB)
    folder = write_colours(paths.channel("train"))
    assert run_train(paths) == 0, paths.failure.read_text()
    predictor = Predictor.load(paths.model, "cpu")
    assert predictor.config.classes == (ClassInfo("ground", 0, "#090909"), ClassInfo("thing", 1, "#800040"))
    [prediction] = predictor.predict([draw_scene(3)[0]])
    plain, coloured = (
        Image.open(io.BytesIO(bytes(Encoder(ResponseFormat.PNG, palette=palette).encode(prediction))))  # type: ignore[arg-type]
        for palette in (False, True)
    )
    assert np.array_equal(np.asarray(plain), np.asarray(coloured)), "the same numbers"
    rgb = np.asarray(coloured.convert("RGB"))
    expected = np.array([(9, 9, 9), (128, 0, 64)], np.uint8)[np.asarray(plain)]
    assert np.array_equal(rgb, expected)
    (folder / "labelmap.txt").unlink()
    assert main(["evaluate", str(paths.model), str(folder), "--output", str(tmp_path / "metrics.json")]) == 0


def test_prepared_channels_keep_the_colours(tmp_path: Path) -> None:
    out = tmp_path / "channels"
    folder = write_colours(tmp_path / "data")
    (folder / "labelmap.txt").unlink()
    given = "thing=#800040, ground=#090909"
    assert main(["prepare", "auto", "--source", str(folder), "--output", str(out), "--mask-colors", given]) == 0
    record = json.loads((out / "train/classes.json").read_text(encoding="utf-8"))
    assert [(one["name"], one["value"], one["color"]) for one in record["classes"]] == [
        ("thing", 0, "#800040"),
        ("ground", 1, "#090909"),
    ]
    assert main(["check", str(out)]) == 0
