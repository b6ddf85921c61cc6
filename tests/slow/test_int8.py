"""Each kind of model through a whole job with int8=true: certified, or left out with the metric that says why."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.images import encode
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision.artifact import OPENVINO_FOLDER
from byoc_vision.evaluation.evaluator import evaluate_folder
from byoc_vision.inference import openvino_model
from byoc_vision.inference.predictor import Predictor
from byoc_vision.paths import MlPaths

pytestmark = pytest.mark.slow

SIDE = 64
COUNTS = {"train": 96, "validation": 48}
JOB = QUICK | {
    "openvino": "true",
    "report": "true",
    "pretrained": "false",
    "int8": "true",
    "image_size": str(SIDE),
    "batch_size": "8",
    "learning_rate": "0.001",
    "num_workers": "0",
}
NAMES = {"disc": (True, True), "square": (False, False), "red square": (True, False), "blue disc": (False, True)}
REASON = r"\w+ is [\d.]+ instead of [\d.]+, and (int8_tolerance=0\.005|no class may lose more than 0\.02)"


def draw(red: bool, is_round: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A red or blue disc or square on uneven ground, uint8 [64, 64, 3], and its mask: 1 of a disc, 2 of a square."""
    random = np.random.default_rng(seed)
    image = random.integers(80, 150, (SIDE, SIDE, 3), dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    x, y, radius = (int(value) for value in (*random.integers(24, 40, 2), random.integers(12, 20)))
    for pixels, colour in ((image, (230, 30, 30) if red else (30, 30, 230)), (mask, 1 if is_round else 2)):
        if is_round:
            cv2.circle(pixels, (x, y), radius, colour, thickness=-1)
        else:
            cv2.rectangle(pixels, (x - radius, y - radius), (x + radius, y + radius), colour, thickness=-1)
    return image, mask


def write_classes(paths: MlPaths, several: bool) -> None:
    """Class folders, or a CSV file in which an image may have several classes."""
    for split, count in COUNTS.items():
        folder = paths.channel(split)
        folder.mkdir(parents=True)
        rows: list[list[Any]] = [["image", "red", "round"]]
        for index in range(count):
            name, meaning = list(NAMES.items())[index % len(NAMES)]
            path = folder / ("" if several else name) / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode(draw(*meaning, index if split == "train" else 1000 + index)[0]))
            rows.append([path.name, *map(int, meaning)])
        if several:
            with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)


def write_masks(paths: MlPaths) -> None:
    """Images and masks of three classes."""
    for split, count in COUNTS.items():
        folders = paths.channel(split), paths.channel(f"{split}_annotation")
        for folder in folders:
            folder.mkdir(parents=True)
        for index in range(count // 2):
            meaning = list(NAMES.values())[index % len(NAMES)]
            for folder, pixels in zip(
                folders, draw(*meaning, index if split == "train" else 1000 + index), strict=True
            ):
                (folder / f"{index}.png").write_bytes(encode(pixels))


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ({"model": "resnet18", "epochs": "4"}, "classes"),
        ({"model": "mobilenetv3_small_100", "epochs": "4"}, "classes"),  # hard-swish and squeeze-and-excitation
        ({"model": "resnet18", "epochs": "4"}, "several classes"),
        ({"model": "unet", "encoder": "resnet18", "epochs": "3"}, "masks"),
        ({"model": "deeplabv3plus", "encoder": "resnet18", "epochs": "3"}, "masks"),
        ({"model": "fcn_resnet50", "epochs": "2"}, "masks"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["model"],
)
def test_int8_is_certified_or_left_out_with_the_metric(
    model: dict[str, str], data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = MlPaths(tmp_path)
    if data == "masks":
        write_masks(paths)
    else:
        write_classes(paths, several=data == "several classes")
    write_hyperparameters(paths, JOB | model)
    assert run_train(paths) == 0
    log = capsys.readouterr().out
    content = json.loads((paths.model / OPENVINO_FOLDER / openvino_model.PRECISIONS_FILE).read_text())
    assert read_metrics(paths)["served"] == content
    found = {entry["precision"]: entry["validation"] for entry in content["precisions"]}
    if content["int8"] != "certified":
        assert re.fullmatch(REASON, content["int8"])
        assert "INT8 without" in log, "layers were left out first"
        assert "int8" not in found
        assert f"The model has no INT8 form: {content['int8']}" in log
        return
    assert re.search(r"OpenVINO int8: .* times as fast\), [\d.]+% of the predictions differ", log)
    objective = content["objective"].partition(":")[2]
    assert found["float32"][objective] - found["int8"][objective] <= 0.005
    for name, value in found["float32"].items():
        if name.startswith(("f1_", "iou_")):
            assert value - found["int8"][name] <= 0.02
    assert Predictor.load(paths.model, "cpu", precision="int8").engine.name == "OpenVINO int8"
    assert evaluate_folder(paths.model, paths.channel("validation"), precision="int8") == found["int8"]
