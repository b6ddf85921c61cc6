"""`pretrained=auto`: from the hub if it can be reached, else random weights with a warning that is hard to overlook."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
from safetensors.torch import save
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters
from support.model_hub import Hub, model_hub

from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.paths import MlPaths

NAME, REPOSITORY = "mobilenetv3_small_050", "timm/mobilenetv3_small_050.lamb_in1k"
SMALL = {**QUICK, "model": NAME, "image_size": "32", "num_workers": "0", "batch_size": "8", "augmentation": "none"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with model_hub(monkeypatch, tmp_path / "hub") as hub:
        hub.files = {f"{REPOSITORY}/model.safetensors": save(timm.create_model(NAME).state_dict())}
        yield hub


@pytest.fixture
def paths(tmp_path: Path) -> MlPaths:
    paths = MlPaths(tmp_path / "ml")
    make_classification_set(paths.channels, count_train=8, count_validation=4, size=32)
    write_hyperparameters(paths, SMALL | {"epochs": "1", "report": "true"})
    return paths


def test_a_job_takes_them_from_the_hub_and_says_which(
    hub: Hub, paths: MlPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(paths) == 0
    taken = f"hub: {REPOSITORY}, commit {hub.commit}, SHA-256 "
    assert f"Training starts from {taken}" in capsys.readouterr().out
    metrics = read_metrics(paths)
    assert metrics["run"]["weights"].startswith(taken)
    assert "RandomWeights" not in {finding["rule"] for finding in metrics["findings"]}
    assert taken in (paths.output_data / "report.html").read_text()
    asked = len(hub.requests)
    write_hyperparameters(paths, SMALL | {"epochs": "2"})
    hub.files.clear()
    shutil.rmtree(paths.root.parent / "hub")
    assert run_train(paths) == 0, "the next start has another machine, without the cache"
    assert len(hub.requests) == asked, "the weights are in the checkpoint"
    assert read_metrics(paths)["run"]["weights"].startswith(taken)


def test_random_weights_are_a_warning_with_three_remedies(
    hub: Hub, paths: MlPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status = 503
    assert run_train(paths) == 0
    log = capsys.readouterr().out
    assert "Training starts from random weights: No pretrained weights of mobilenetv3_small_050 are available" in log
    (finding,) = [each for each in read_metrics(paths)["findings"] if each["rule"] == "RandomWeights"]
    assert "the hub answers 503" in finding["evidence"]
    for remedy in ("add a `pretrained` channel", "build the image with them", "can reach the model hub"):
        assert remedy in log
        assert remedy in finding["remedy"]
    page = (paths.output_data / "report.html").read_text()
    assert "RandomWeights" in page
    assert "Three remedies" in page


def test_random_weights_that_are_asked_for_are_not_a_warning(
    hub: Hub, paths: MlPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    write_hyperparameters(paths, SMALL | {"epochs": "1", "pretrained": "false"})
    assert run_train(paths) == 0
    assert hub.requests == []
    assert "Training starts from" not in capsys.readouterr().out
    assert "RandomWeights" not in {finding["rule"] for finding in read_metrics(paths)["findings"]}


def test_a_job_in_network_isolation_does_not_ask_the_hub(
    hub: Hub, paths: MlPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.training_job_config.write_text(json.dumps({"EnableNetworkIsolation": True}))
    assert run_train(paths) == 0
    assert hub.requests == []
    assert "This job runs in network isolation" in capsys.readouterr().out


def test_a_job_that_needs_them_fails_without(hub: Hub, paths: MlPaths) -> None:
    hub.sent_instead = b"something else"
    write_hyperparameters(paths, SMALL | {"epochs": "1", "pretrained": "true"})
    assert run_train(paths) == 4
    assert "the hub offers" in paths.failure.read_text()
