"""Images with any number of classes: from a CSV file to a served answer, measured and predicted alike."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient
from support.images import encode
from support.jobs import read_metrics, run_train, write_hyperparameters
from support.log_figures import compare_log

from byoc_serve.app import create_app
from byoc_serve.loader import Loader
from byoc_serve.model_service import ModelService
from byoc_serve.readiness import Readiness, State
from byoc_serve.settings import Settings
from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.describe.metrics import metric_definitions
from byoc_vision.inference.predictor import Predictor
from byoc_vision.paths import MlPaths

SIDE = 32
LOG = "log.txt"
ASKED = {
    "model": "resnet10t",
    "image_size": str(SIDE),
    "batch_size": "16",
    "epochs": "10",
    "learning_rate": "0.004",
    "augmentation": "flip",
    "num_workers": "0",
    "precision": "float32",
    "report": "false",
    "tensorboard": "false",
}
MEANINGS = [(red, round_) for red in (False, True) for round_ in (False, True)]


def draw(red: bool, round_: bool, seed: int) -> np.ndarray:
    """A red or blue disc or square on uneven ground, uint8 [32, 32, 3]."""
    random = np.random.default_rng(seed)
    image = random.integers(80, 150, (SIDE, SIDE, 3), dtype=np.uint8)
    colour = (230, 30, 30) if red else (30, 30, 230)
    x, y, radius = (int(value) for value in (*random.integers(12, 20, 2), random.integers(7, 11)))
    if round_:
        return cv2.circle(image, (x, y), radius, colour, thickness=-1)
    return cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), colour, thickness=-1)


def fill(folder: Path, count: int, seed: int) -> None:
    """Images, and `labels.csv` with a column of 0 and 1 for each class; a blue square has none."""
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "red", "round"])
        for index in range(count):
            red, round_ = MEANINGS[index % len(MEANINGS)]
            (folder / f"{index}.png").write_bytes(encode(draw(red, round_, seed + index)))
            rows.writerow([f"{index}.png", int(red), int(round_)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> MlPaths:
    paths = MlPaths(tmp_path_factory.mktemp("ml"))
    fill(paths.channel("train"), 160, seed=0)
    fill(paths.channel("validation"), 40, seed=1000)
    write_hyperparameters(paths, ASKED)
    with (paths.root / LOG).open("w", encoding="utf-8") as log, redirect_stdout(log):
        assert run_train(paths) == 0
    return paths


@pytest.fixture(scope="module")
def client(trained: MlPaths) -> Iterator[FlaskClient]:
    settings = Settings()
    loader = Loader(lambda: ModelService(Predictor.load(trained.model, "cpu"), settings), Readiness())
    loader.start()
    assert loader.wait(100) is State.READY
    try:
        yield create_app(settings, loader).test_client()
    finally:
        loader.stop()


def test_the_job_judges_by_mean_average_precision(trained: MlPaths) -> None:
    config, _ = artifact.load(trained.model)
    assert (config.activation, config.class_names, config.model.outputs) == ("sigmoid", ("red", "round"), 2)
    results = read_metrics(trained)
    assert results["objective"] == "validation:map"
    assert results["validation"]["map"] > 0.9
    names = {"loss", "map", "accuracy", "exact_match", "f1", "micro_f1", "f1_red", "f1_round"}
    assert set(results["validation"]) == names
    assert config.metrics["validation:map"] == results["validation"]["map"]
    definitions = metric_definitions("classification", multi_label=True, classes=config.class_names)
    compare_log((trained.root / LOG).read_text(encoding="utf-8"), trained.output_data, definitions)


def test_the_server_answers_each_class_by_itself(client: FlaskClient) -> None:
    right = 0
    for index in range(40):
        red, round_ = MEANINGS[index % 4]
        image = encode(draw(red, round_, 5000 + index))
        answer = client.post(
            "/invocations", data=image, content_type="image/png", headers={"Accept": "application/json"}
        )
        entries = {entry["label"]: entry for entry in answer.get_json()}
        assert entries.keys() == {"red", "round"}
        assert all(entry["present"] == (entry["score"] > 0.5) for entry in entries.values())
        right += (entries["red"]["present"], entries["round"]["present"]) == (red, round_)
        lines = client.post("/invocations", data=image, headers={"Accept": "application/jsonlines"})
        assert json.loads(lines.data) == {"prediction": [entries[name]["score"] for name in ("red", "round")]}
    assert right >= 36


def test_a_folder_is_evaluated_as_the_job_validated(trained: MlPaths, tmp_path: Path) -> None:
    validated = read_metrics(trained)["validation"]
    del validated["loss"]
    output = tmp_path / "figures.json"
    data = str(trained.channel("validation"))
    assert main(["evaluate", "--model", str(trained.model), "--data", data, "--output", str(output)]) == 0
    # Within what another number format than the job's moves.
    assert json.loads(output.read_text()) == pytest.approx(validated, abs=0.03)


def test_class_folders_are_images_with_one_class_each(trained: MlPaths, tmp_path: Path) -> None:
    for name, red, round_ in (("red", True, False), ("round", False, True)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(6):
            (tmp_path / "data" / name / f"{index}.png").write_bytes(encode(draw(red, round_, 7000 + index)))
    output = tmp_path / "figures.json"
    asked = ["--model", str(trained.model), "--data", str(tmp_path / "data"), "--output", str(output)]
    assert main(["evaluate", *asked]) == 0
    assert json.loads(output.read_text())["map"] > 0.9


def test_predictions_in_files_say_which_classes_are_present(trained: MlPaths, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(encode(draw(True, False, 9000)))
    output = tmp_path / "out"
    assert main(["predict", "--model", str(trained.model), "--output", str(output), str(tmp_path / "one.png")]) == 0
    (line,) = (output / "predictions.jsonl").read_text().splitlines()
    present = {entry["label"]: entry["present"] for entry in json.loads(line)["predictions"]}
    assert present == {"red": True, "round": False}
