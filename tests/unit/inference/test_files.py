from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError
from byoc_vision.inference import passes
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.files import PredictionTable, find_images, predict_files
from byoc_vision.inference.overlay import class_colours, draw_overlay
from byoc_vision.inference.passes import InferenceOptions
from byoc_vision.inference.predictor import Classification, Predictor
from byoc_vision.models.build import build_model
from byoc_vision.precision import choose_precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec, Task

CPU = torch.device("cpu")


def predictor(task: Task) -> Predictor:
    spec = ModelSpec(task=task, architecture="unet_small" if task == "segmentation" else "resnet10t", outputs=2)
    config = ModelConfig(
        model=spec,
        classes=(ClassInfo(name="a", value=0), ClassInfo(name="b", value=9)),
        activation="softmax",
        preprocess=Preprocess(height=32, width=32),
    )
    return Predictor(config, TorchEngine(build_model(spec), config, CPU, choose_precision("float32", CPU)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    (source / "deeper").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name in ("one.jpg", "deeper/two.png"):
        cv2.imwrite(str(source / name), draw.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    (source / "notes.txt").write_text("not an image")
    (source / ".hidden.jpg").write_bytes(b"")
    return source


def table(output: Path) -> list[list[str]]:
    with (output / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_images_are_found_in_folders(folder: Path) -> None:
    assert [path.name for path in find_images([folder])] == ["two.png", "one.jpg"]
    assert [path.name for path in find_images([folder / "one.jpg"])] == ["one.jpg"]


def test_the_error_names_a_missing_file(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jpg does not exist"):
        find_images([tmp_path / "nowhere.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images in"):
        find_images([tmp_path / "empty"])


def test_two_images_of_one_name_do_not_overwrite_each_other(folder: Path) -> None:
    (folder / "deeper" / "one.png").write_bytes((folder / "one.jpg").read_bytes())
    images = find_images([folder])
    with pytest.raises(InputError, match=r"would both be written to one\.png"):
        list(predict_files(predictor("segmentation"), images, folder / "out"))


def test_images_of_one_name_in_a_tree_of_classes_are_predicted(folder: Path, tmp_path: Path) -> None:
    (folder / "deeper" / "one.png").write_bytes((folder / "one.jpg").read_bytes())
    list(predict_files(predictor("classification"), find_images([folder]), tmp_path / "out"))
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [str(Path(line["file"]).relative_to(folder)) for line in lines] == [
        "deeper/one.png",
        "deeper/two.png",
        "one.jpg",
    ]


@pytest.mark.parametrize(("name", "problem"), [("there", "is a file"), ("masks.csv", "looks like a file")])
def test_an_output_that_is_a_file_is_an_error_that_asks_for_a_folder(
    folder: Path, tmp_path: Path, name: str, problem: str
) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(InputError, match=f"--output .*{name} {problem}; name a folder"):
        list(predict_files(predictor("classification"), find_images([folder]), tmp_path / name))


def test_masks_and_overlays(folder: Path, tmp_path: Path) -> None:
    outcomes = list(predict_files(predictor("segmentation"), find_images([folder]), tmp_path / "out", overlay=True))
    assert [outcome.error for outcome in outcomes] == [None, None]
    mask = cv2.imread(str(tmp_path / "out/one.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (40, 60)
    assert set(np.unique(mask)) <= {0, 9}
    assert cv2.imread(str(tmp_path / "out/one.overlay.png")).shape == (40, 60, 3)
    rows = table(tmp_path / "out")
    assert rows[0] == ["file", "mask", "share a", "share b"]
    assert [row[:2] for row in rows[1:]] == [
        [str(folder / "deeper/two.png"), "two.png"],
        [str(folder / "one.jpg"), "one.png"],
    ]
    shares = [float(share) for share in rows[2][2:]]
    assert shares == [round(float(np.mean(mask == value)), 6) for value in (0, 9)]


def test_classes_are_written_as_lines(folder: Path, tmp_path: Path) -> None:
    list(predict_files(predictor("classification"), find_images([folder]), tmp_path / "out"))
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["two.png", "one.jpg"]
    for line in lines:
        assert {prediction["label"] for prediction in line["predictions"]} == {"a", "b"}
        assert sum(prediction["score"] for prediction in line["predictions"]) == pytest.approx(1, abs=1e-5)
    header, *rows = table(tmp_path / "out")
    assert header == ["file", "class", "probability", "probability a", "probability b"]
    for row, line in zip(rows, lines, strict=True):
        scores = {prediction["label"]: prediction["score"] for prediction in line["predictions"]}
        assert row[0] == line["file"]
        assert (row[1], float(row[2])) == max(scores.items(), key=lambda item: item[1])
        assert [float(cell) for cell in row[3:]] == [scores["a"], scores["b"]]


def test_several_classes_of_an_image_are_in_one_cell(tmp_path: Path) -> None:
    spec = ModelSpec(task="classification", architecture="test", outputs=3)
    classes = tuple(ClassInfo(name=name) for name in ("cat", "a, dog", "hat"))
    config = ModelConfig(model=spec, classes=classes, activation="sigmoid", preprocess=Preprocess(height=8, width=8))
    rows = PredictionTable(tmp_path / "predictions.csv", config)
    rows.add(Path("x.jpg"), Classification(np.float32([0.25, 0.75, 0.5625]), config.class_names, threshold=0.5))
    rows.add(Path("y.jpg"), Classification(np.float32([0.25, 0.125, 0.0]), config.class_names, threshold=0.5))
    assert table(tmp_path) == [
        ["file", "class", "probability", "present", "probability cat", "probability a, dog", "probability hat"],
        ["x.jpg", "a, dog", "0.75", "a, dog;hat", "0.25", "0.75", "0.5625"],
        ["y.jpg", "cat", "0.25", "", "0.25", "0.125", "0.0"],
    ]


def test_unsupported_options_are_an_error_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="remove tile"):
        list(
            predict_files(
                predictor("classification"), [folder / "one.jpg"], tmp_path / "out", options=InferenceOptions("auto")
            )
        )
    assert not (tmp_path / "out").exists()


def test_an_image_too_large_for_its_tiles_does_not_affect_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(folder / "large.png"), np.zeros((200, 2000, 3), np.uint8))
    monkeypatch.setattr(passes, "MAX_BLENDING", 150_000)
    found = find_images([folder])
    outcomes = {
        o.source.name: o
        for o in predict_files(predictor("segmentation"), found, tmp_path, options=InferenceOptions(96))
        for o in predict_files(predictor("segmentation"), found, tmp_path, options=InferenceOptions(96))
    }
    assert outcomes["one.jpg"].written == tmp_path / "one.png"
    assert outcomes["large.png"].error is not None
    assert "large.png: tiles of" in outcomes["large.png"].error
    assert len(table(tmp_path)) == 1 + 2


def test_a_damaged_image_does_not_affect_others(folder: Path, tmp_path: Path) -> None:
    (folder / "one.jpg").write_bytes(b"\xff\xd8 not a JPEG")
    outcomes = {
        o.source.name: o for o in predict_files(predictor("segmentation"), find_images([folder]), tmp_path / "out")
    }
    assert outcomes["two.png"].written == tmp_path / "out/two.png"
    assert "one.jpg" in str(outcomes["one.jpg"].error)


def test_masks_with_a_palette_hold_the_same_values(folder: Path, tmp_path: Path) -> None:
    one = predictor("segmentation")
    for name, palette in (("grey", False), ("coloured", True)):
        list(predict_files(one, find_images([folder]), tmp_path / name, palette=palette))
    grey, coloured = (Image.open(tmp_path / name / "one.png") for name in ("grey", "coloured"))
    assert (grey.mode, coloured.mode) == ("L", "P")
    assert np.array_equal(np.asarray(grey), np.asarray(coloured))


def test_the_overlay_tints_all_but_the_background() -> None:
    image = np.full((4, 6, 3), 100, dtype=np.uint8)
    labels = np.zeros((4, 6), dtype=np.uint8)
    labels[:, 3:] = 1
    drawn = draw_overlay(image, labels)
    assert (drawn[:, :3] == 100).all()
    expected = (100 + class_colours(2)[1].astype(int)) / 2
    assert np.abs(drawn[:, 3:].astype(int) - expected).max() <= 1
