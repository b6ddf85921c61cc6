"""`byoc-vision train` on a folder laid out as /opt/ml: from drawn images to an artifact, and what goes wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import forked
from support.disks import files_of_at_most
from support.hosts import log_of, train_on_one
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters
from support.log_figures import compare_log

from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.describe.metrics import metric_definitions
from byoc_vision.inference.predictor import Predictor, Segmentation
from byoc_vision.paths import MlPaths

EPOCH_LINE = re.compile(r"epoch=([0-9]+) train:loss=([0-9.]+) validation:loss=([0-9.]+) ")
SMALL = {
    "model": "unet_small",
    "image_size": "64",
    "batch_size": "4",
    "epochs": "2",
    "num_workers": "0",
    **QUICK,
}
SMALL_CLASSIFIER = {
    "model": "resnet10t",
    "image_size": "32",
    "batch_size": "8",
    "epochs": "2",
    "num_workers": "0",
    **QUICK,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    make_segmentation_set(folder, count_train=16, count_validation=6, size=80)
    return folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    make_classification_set(folder, count_train=32, count_validation=12, size=40)
    return folder


Prepare = Callable[[Path, dict[str, str]], MlPaths]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Lay out a job: a copy of the images as channels, and the hyperparameters."""

    def lay_out(images: Path, hyperparameters: dict[str, str]) -> MlPaths:
        paths = MlPaths(tmp_path / "ml")
        shutil.copytree(images, paths.channels)
        write_hyperparameters(paths, hyperparameters)
        return paths

    return lay_out


def epoch_figures(log: str) -> list[tuple[float, float]]:
    return [(float(train_loss), float(loss)) for _, train_loss, loss in EPOCH_LINE.findall(log)]


def test_a_segmentation_job_leaves_a_model_and_its_metrics(
    scenes: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = prepare(scenes, SMALL)
    assert run_train(paths) == 0
    config, _ = artifact.load(paths.model)
    assert (config.task, config.activation) == ("segmentation", "sigmoid")
    assert [(entry.name, entry.value) for entry in config.classes] == [("background", 0), ("foreground", 255)]
    results = read_metrics(paths)
    best = results["epochs"][results["best_epoch"] - 1]
    assert results["objective"] == "validation:dice"
    assert best["validation"] == results["validation"]
    assert config.metrics == {f"validation:{name}": value for name, value in best["validation"].items()}
    assert max(epoch["validation"]["dice"] for epoch in results["epochs"]) == results["validation"]["dice"]
    assert len(epoch_figures(capsys.readouterr().out)) == 2
    assert not paths.failure.exists()


def test_a_job_leaves_what_openvino_reads(scenes: Path, prepare: Prepare, capfd: pytest.CaptureFixture[str]) -> None:
    paths = prepare(scenes, SMALL | {"epochs": "1", "openvino": "true"})
    assert run_train(paths) == 0
    assert "Exported the OpenVINO model" in "".join(capfd.readouterr())
    image = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)
    one, other = (
        Predictor.load(paths.model, "cpu", engine=name, precision="float32").predict([image])[0]
        for name in ("auto", "torch")
    )
    assert isinstance(one, Segmentation)
    assert isinstance(other, Segmentation)
    assert (one.labels == other.labels).mean() > 0.99


def test_a_disk_without_room_for_the_model_is_status_4(scenes: Path, prepare: Prepare) -> None:
    paths = prepare(scenes, SMALL | {"epochs": "1", "checkpoint_keep": "0", "cache": "off"})
    with files_of_at_most(2**14):
        assert run_train(paths) == 4
    failure = paths.failure.read_text()
    assert failure.startswith(f"Resources: {paths.model}/model.safetensors could not be written (")
    assert "bytes are needed" in failure


def test_a_disk_without_room_for_what_is_optional_costs_warnings(
    scenes: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data's report and the tables cannot be written."""
    paths = prepare(scenes, SMALL | {"epochs": "1", "openvino": "true", "report": "true", "tensorboard": "true"})
    for blocked in ("preflight.json", "predictions.csv", "report.html"):
        (paths.output_data / blocked / "folder").mkdir(parents=True)
    (paths.output_data.parent / "tensorboard").write_text("")
    assert run_train(paths) == 0
    assert artifact.load(paths.model)[0].task == "segmentation"
    assert read_metrics(paths)["state"] == "finished"
    assert "cannot be written: Is a directory" in capsys.readouterr().out


def test_a_classification_job_leaves_a_model_and_its_metrics(
    shapes: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"hidden_units": "16", "dropout_rate": "0.1", "top_k": "2", "learning_rate": "0.00001"}
    paths = prepare(shapes, SMALL_CLASSIFIER | asked)
    shutil.copytree(paths.channel("validation"), paths.channel("test"))
    assert run_train(paths) == 0
    definitions = metric_definitions("classification", multi_label=False, top_k=2)
    compare_log(capsys.readouterr().out, paths.output_data, definitions)
    config, _ = artifact.load(paths.model)
    assert (config.task, config.activation, config.model.hidden_units) == ("classification", "softmax", (16,))
    assert config.class_names == tuple(sorted(config.class_names))
    assert set(read_metrics(paths)["validation"]) >= {
        "loss", "accuracy", "f1", "precision", "recall",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_losses(scenes: Path, prepare: Prepare, tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        shutil.rmtree(tmp_path / "ml", ignore_errors=True)
        paths = prepare(scenes, SMALL)
        assert run_train(paths) == 0
        results.append(read_metrics(paths))
    for one, other in zip(*(result["epochs"] for result in results), strict=True):
        assert one["train_loss"] == other["train_loss"]
        assert one["validation"] == other["validation"]


def test_what_was_reported_is_what_evaluate_and_predict_find(scenes: Path, prepare: Prepare, tmp_path: Path) -> None:
    """People's complaint about the built-in algorithms: the served figure differs from the reported one."""
    paths = prepare(scenes, SMALL)
    assert run_train(paths) == 0
    reported = artifact.load(paths.model)[0].metrics
    found = tmp_path / "found.json"
    assert (
        main(
            [
                "evaluate",
                "--model",
                str(paths.model),
                "--data",
                str(paths.channel("validation")),
                "--output",
                str(found),
            ]
        )
        == 0
    )
    evaluated = json.loads(found.read_text())
    assert {f"validation:{name}": value for name, value in evaluated.items()} | {
        "validation:loss": reported["validation:loss"]
    } == pytest.approx(reported, abs=1e-6)

    answers = tmp_path / "answers"
    assert (
        main(["predict", "--model", str(paths.model), "--output", str(answers), str(paths.channel("validation"))]) == 0
    )
    dice = []
    for truth_file in sorted(paths.channel("validation_annotation").iterdir()):
        target = cv2.imread(str(truth_file), cv2.IMREAD_UNCHANGED) > 0
        answer = cv2.imread(str(answers / f"{truth_file.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert answer.shape == target.shape
        assert set(np.unique(answer)) <= {0, 255}
        dice.append(2 * (target & (answer > 0)).sum() / (target.sum() + (answer > 0).sum()))
    assert np.mean(dice) == pytest.approx(reported["validation:dice"], abs=1e-6)


def test_a_test_channel_is_measured_with_the_best_model(
    scenes: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = prepare(scenes, SMALL)
    for kind in ("", "_annotation"):
        shutil.copytree(paths.channel(f"validation{kind}"), paths.channel(f"test{kind}"))
    assert run_train(paths) == 0
    results = read_metrics(paths)
    assert results["test"] == pytest.approx(results["validation"], abs=1e-6)
    compare_log(capsys.readouterr().out, paths.output_data, metric_definitions("segmentation"))


def test_without_a_validation_channel_a_part_is_held_out(shapes: Path, prepare: Prepare) -> None:
    paths = prepare(shapes, SMALL_CLASSIFIER | {"validation_split": "0.25", "epochs": "1"})
    shutil.rmtree(paths.channel("validation"))
    assert run_train(paths) == 0
    assert read_metrics(paths)["pictures"] == {"train": 24, "validation": 8}


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        ("adamw", "cosine"),
        ("adam", "poly"),
        ("sgd", "step"),
        ("nag", "one_cycle"),
        ("rmsprop", "constant"),
        ("adagrad", "cosine"),
    ],
)
def test_optimisers_and_schedules(shapes: Path, prepare: Prepare, optimizer: str, scheduler: str) -> None:
    asked = {"optimizer": optimizer, "lr_scheduler": scheduler, "warmup_epochs": "0.5", "epochs": "1"}
    assert run_train(prepare(shapes, SMALL_CLASSIFIER | asked)) == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "dice", "bce_dice", "focal"])
def test_every_loss(scenes: Path, prepare: Prepare, loss: str) -> None:
    assert run_train(prepare(scenes, SMALL | {"loss": loss, "epochs": "1"})) == 0


def test_early_stopping(shapes: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]) -> None:
    """A learning rate too small to change anything: nothing improves after the first epoch."""
    asked = {"epochs": "9", "learning_rate": "1e-12", "early_stopping": "True", "early_stopping_patience": "2"}
    assert run_train(prepare(shapes, SMALL_CLASSIFIER | asked | {"early_stopping_min_epochs": "1"})) == 0
    log = capsys.readouterr().out
    assert "Stopped early" in log
    assert len(epoch_figures(log)) == 3


def test_an_exploding_loss_is_reported(shapes: Path, prepare: Prepare) -> None:
    paths = prepare(shapes, SMALL_CLASSIFIER | {"learning_rate": "1e30", "optimizer": "sgd", "epochs": "5"})
    assert run_train(paths) == 2
    assert re.match(r"Your input: learning_rate: the training loss is (nan|inf) in epoch", paths.failure.read_text())


@pytest.mark.timeout(300)  # two jobs on the cores of one
def test_two_hosts_train_one_model(scenes: Path, prepare: Prepare, tmp_path: Path) -> None:
    """Two hosts, as two processes with a loopback address each, joined by Gloo: one writes and logs the metrics."""
    chosen = {"soup": "2", "mask_threshold": "auto", "min_area": "auto"}  # with the metrics of both, alike
    first = prepare(scenes, SMALL | {"batch_size": "2"} | chosen)
    second = MlPaths(tmp_path / "ml-2")
    shutil.copytree(first.root, second.root)
    hosts = ["127.0.0.1", "127.0.0.2"]
    started = []
    for host, paths in zip(hosts, (first, second), strict=True):
        paths.resource_config.write_text(json.dumps({"current_host": host, "hosts": hosts}))
        started.append(forked.start(main, ["train", "--root", str(paths.root)], log=paths.root / "log"))
    statuses = [process.wait(300) for process in started]
    logs = [log_of(paths) for paths in (first, second)]
    assert statuses == [0, 0], "\n".join(logs)
    assert len(epoch_figures(logs[0])) == 2
    assert epoch_figures(logs[1]) == [], "SageMaker would count each metric twice"
    config, _ = artifact.load(first.model)
    assert config.task == "segmentation"
    found = tmp_path / "found.json"
    evaluate = ["evaluate", "--model", str(first.model), "--data", str(first.channel("validation"))]
    assert main([*evaluate, "--output", str(found)]) == 0
    for name, value in json.loads(found.read_text()).items():
        assert config.metrics[f"validation:{name}"] == pytest.approx(value, abs=1e-6)
    assert not second.model.exists()
    assert not second.output_data.exists()


def test_four_processes_train_the_head_and_then_all_of_it(shapes: Path, prepare: Prepare) -> None:
    """Gradients of the encoder are averaged from the epoch on in which it learns: else the processes would drift."""
    asked = {"batch_size": "2", "freeze_epochs": "1", "learning_rate": "0.01", "mixup": "0.4", "soup": "2"}
    paths = prepare(shapes, SMALL_CLASSIFIER | asked)
    log = train_on_one(paths, processes=4)
    assert log.count("soup: accuracy") == 1
    assert len(epoch_figures(log)) == 2, "the first process alone tells"
    assert log.count("Epoch 2: the encoder learns too") == 1
    config, _ = artifact.load(paths.model)
    found = paths.root / "found.json"
    evaluate = ["evaluate", "--model", str(paths.model), "--data", str(paths.channel("validation"))]
    assert main([*evaluate, "--output", str(found)]) == 0
    for name, value in json.loads(found.read_text()).items():
        assert config.metrics[f"validation:{name}"] == pytest.approx(value, abs=1e-6), "all measured the same weights"
