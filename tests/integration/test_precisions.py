"""What a job says of each precision is what a predictor and a server in that precision give."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import servers
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision.artifact import OPENVINO_FOLDER
from byoc_vision.checksums import CHECKSUMS_FILE
from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.errors import DataError, InputError
from byoc_vision.evaluation.evaluator import evaluate_folder
from byoc_vision.inference import openvino_model
from byoc_vision.inference.predictor import Predictor
from byoc_vision.paths import MlPaths

JOB = QUICK | {"openvino": "true", "epochs": "2", "num_workers": "0", "int8": "true", "int8_tolerance": "0.9"}
CLASSIFIER = JOB | {"model": "resnet10t", "image_size": "32", "batch_size": "8"}
SEGMENTER = JOB | {"model": "unet_small", "image_size": "64", "batch_size": "4", "learning_rate": "0.003"}


def train(root: Path, hyperparameters: dict[str, str]) -> MlPaths:
    paths = MlPaths(root)
    if "image_size" in hyperparameters and hyperparameters["model"].startswith("unet"):
        make_segmentation_set(paths.channels, count_train=16, count_validation=6, size=80)
    else:
        make_classification_set(paths.channels, count_train=32, count_validation=12, size=40)
    write_hyperparameters(paths, hyperparameters)
    assert run_train(paths) == 0
    return paths


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> MlPaths:
    """A job that certified INT8: two epochs do not make a good model, so it may lose what it likes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("byoc_vision.training.served_precisions.CLASS_TOLERANCE", 1.0)
        return train(tmp_path_factory.mktemp("classifier"), CLASSIFIER)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> MlPaths:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("byoc_vision.training.served_precisions.CLASS_TOLERANCE", 1.0)
        return train(tmp_path_factory.mktemp("segmenter"), SEGMENTER)


def recorded(paths: MlPaths) -> dict[str, Any]:
    """What the artifact says of its precisions."""
    return dict(json.loads((paths.model / OPENVINO_FOLDER / openvino_model.PRECISIONS_FILE).read_text()))


def validation(paths: MlPaths) -> Path:
    return paths.channel("validation")


@pytest.mark.parametrize("job", ["classifier", "segmenter"])
def test_each_precision_gives_exactly_what_the_artifact_says(job: str, request: pytest.FixtureRequest) -> None:
    paths: MlPaths = request.getfixturevalue(job)
    content = recorded(paths)
    assert content["int8"] == "certified"
    assert {"float32", "int8"} <= {entry["precision"] for entry in content["precisions"]}
    for entry in content["precisions"]:
        assert evaluate_folder(paths.model, validation(paths), precision=entry["precision"]) == entry["validation"]


def test_metrics_json_says_the_same(classifier: MlPaths) -> None:
    assert read_metrics(classifier)["served"] == recorded(classifier)


def test_a_server_gives_what_the_artifact_says(classifier: MlPaths, tmp_path: Path) -> None:
    """Through HTTP, image by image."""
    content = {entry["precision"]: entry["validation"] for entry in recorded(classifier)["precisions"]}
    for precision in ("float32", "int8"):
        log = tmp_path / f"{precision}.log"
        with servers.fork(classifier.root, log, {"PRECISION": precision}) as server:
            server.pings_until(200)
            images = sorted(validation(classifier).rglob("*.png")) or sorted(validation(classifier).rglob("*.jpg"))
            right = [server.post(path.read_bytes()).json()[0]["label"] == path.parent.name for path in images]
        assert np.mean(right) == pytest.approx(content[precision]["accuracy"], abs=1e-6)
        assert f"OpenVINO {precision}" in log.read_text()


def test_auto_measures_int8_and_float32_never_takes_it(classifier: MlPaths, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        name = Predictor.load(classifier.model, "cpu").engine.name
    found = re.search(r"OpenVINO: float32 .*int8 [\d.]+ ms per image; (\w+) serves", caplog.text)
    assert found is not None
    assert name == f"OpenVINO {found[1]}"
    assert Predictor.load(classifier.model, "cpu", precision="float32").engine.name == "OpenVINO float32"


def without_int8(paths: MlPaths, folder: Path) -> Path:
    """The artifact as it is if no INT8 form was certified."""
    shutil.copytree(paths.model, folder)
    for name in (*openvino_model.INT8_FILES, openvino_model.PRECISIONS_FILE):
        (folder / OPENVINO_FOLDER / name).unlink()
    (folder / CHECKSUMS_FILE).unlink()
    return folder


@pytest.mark.parametrize("engine", ["auto", "openvino"])
def test_int8_that_is_not_there_is_an_error_with_the_remedy(classifier: MlPaths, tmp_path: Path, engine: Any) -> None:
    folder = without_int8(classifier, tmp_path / "model")
    assert Predictor.load(folder, "cpu", precision="float32").engine.name == "OpenVINO float32"
    with pytest.raises(InputError, match=r"has no INT8 form; set precision to auto.*or train it with int8=true"):
        Predictor.load(folder, "cpu", engine, precision="int8")
    shutil.rmtree(folder / OPENVINO_FOLDER)
    with pytest.raises(InputError, match="has no INT8 form"):
        Predictor.load(folder, "cpu", precision="int8")


@pytest.mark.parametrize(("device", "engine"), [("cuda:0", "auto"), ("cpu", "torch")])
def test_int8_is_openvinos_on_a_cpu(classifier: MlPaths, device: str, engine: Any) -> None:
    with pytest.raises(InputError, match=r"precision=int8 is computed by OpenVINO on a CPU, not by .*set precision"):
        Predictor.load(classifier.model, device, engine, precision="int8")


def test_another_int8_is_not_served(classifier: MlPaths, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it computed where it was certified is compared: a processor that rounds otherwise must not serve it."""
    folder = tmp_path / "model"
    shutil.copytree(classifier.model, folder)
    reference = folder / OPENVINO_FOLDER / openvino_model.INT8_REFERENCE_FILE
    with np.load(reference) as content:
        np.savez(reference, **{name: content[name] + np.arange(content[name].size) for name in content})
    (folder / CHECKSUMS_FILE).unlink()
    with pytest.raises(DataError, match="OpenVINO int8 does not compute what it did where it was certified"):
        Predictor.load(folder, "cpu", precision="int8")
    with caplog.at_level(logging.WARNING):
        assert Predictor.load(folder, "cpu").engine.name != "OpenVINO int8"
    assert "OpenVINO int8 does not compute" in caplog.text


@pytest.mark.parametrize("name", openvino_model.INT8_FILES)
@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_damaged_int8_is_left_out_unless_it_is_asked_for(
    classifier: MlPaths, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(classifier.model, folder)
    (folder / OPENVINO_FOLDER / name).write_bytes(content)
    assert Predictor.load(folder, "cpu", precision="float32").engine.name == "OpenVINO float32"
    with caplog.at_level(logging.WARNING):
        assert Predictor.load(folder, "cpu").engine.name in ("OpenVINO float32", "OpenVINO bfloat16")
    assert "it is served without int8" in caplog.text
    with pytest.raises(DataError, match=f"{name} is damaged or was changed"):
        Predictor.load(folder, "cpu", precision="int8")


def test_what_serves_imports_nothing_that_quantises(classifier: MlPaths) -> None:
    program = (
        "import sys, numpy as np\nfrom pathlib import Path\nimport byoc_serve.app\n"
        "from byoc_vision.inference.predictor import Predictor\n"
        "predictor = Predictor.load(Path(sys.argv[1]), precision='int8')\n"
        "predictor.predict([np.zeros((40, 30, 3), np.uint8)])\nprint(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program, classifier.model], capture_output=True, text=True, check=True)
    assert "openvino" in done.stdout.split()
    assert not {"nncf", "sklearn", "scipy", "torch"} & set(done.stdout.split())
