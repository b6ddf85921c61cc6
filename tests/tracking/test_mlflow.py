"""A job as MLflow's own server has it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mlflow.entities import Run
from support.mlflow_server import Server
from support.tracked import record_of

from byoc_vision.training.callbacks.mlflow import Mlflow


class Folders:
    """output/data, the model and the checkpoints of a job."""

    def __init__(self, root: Path) -> None:
        self.output, self.model, self.checkpoints = root / "data", root / "model", root / "checkpoints"
        for folder in (self.output, self.model / "parts"):
            folder.mkdir(parents=True)
        (self.output / "metrics.json").write_text("{}")
        (self.output / "report.html").write_text("<html></html>")
        (self.model / "model.json").write_text("{}")
        (self.model / "parts/weights.bin").write_bytes(bytes(1000))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def tracker_of(server: Server, folders: Folders, **environment: str) -> Mlflow:
    variables = {"TRAINING_JOB_NAME": "job-7", "MLFLOW_EXPERIMENT_NAME": "cats"} | environment
    return Mlflow(server.uri, folders.checkpoints, folders.model, folders.output, variables)


def runs(server: Server, experiment: str = "cats") -> list[Run]:
    found = server.client.get_experiment_by_name(experiment)
    return [] if found is None else server.client.search_runs([found.experiment_id])


def steps(server: Server, run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in server.client.get_metric_history(run.info.run_id, name)]


def artifacts(server: Server, run: Run, path: str | None = None) -> set[str]:
    found = server.client.list_artifacts(run.info.run_id, path)
    return {item for entry in found for item in (artifacts(server, run, entry.path) if entry.is_dir else {entry.path})}


def test_a_job_from_its_beginning_to_its_end(
    server: Server, folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = tracker_of(server, folders, MLFLOW_EXPERIMENT_NAME="whole")
    with caplog.at_level(logging.INFO, "byoc_vision"):
        tracker.train_begin(record_of(0, {"epochs": "2"}))
    (run,) = runs(server, "whole")
    assert run.info.run_id in caplog.text
    assert (run.info.status, run.info.run_name) == ("RUNNING", "my-job")
    for number in (1, 2):
        tracker.epoch_end(record_of(number, {"epochs": "2"}))
    tracker.train_end(record_of(2, {"epochs": "2"}, state="finished", test={"accuracy": 0.25}))

    (run,) = runs(server, "whole")
    assert run.info.status == "FINISHED"
    assert run.data.params["epochs"] == "2"
    assert run.data.params["optimizer"] == "adamw", "the defaults too"
    assert run.data.tags["byoc_vision.given"] == "epochs"
    assert run.data.tags["sagemaker.training_job_name"] == "job-7"
    assert run.data.tags["byoc_vision.model"] == "resnet18"
    assert steps(server, run, "train/loss") == [(1, 1.0), (2, 0.5)]
    assert steps(server, run, "validation/accuracy") == [(1, 0.0), (2, 0.5)]
    assert run.data.metrics["validation/f1_Straße _nass_"] == 0.5, "as far as a name may have it"
    assert run.data.metrics["best/accuracy"] == 0.5
    assert run.data.metrics["test/accuracy"] == 0.25
    assert "validation/loss" not in run.data.metrics, "it is not a number"
    assert artifacts(server, run) == {"metrics.json", "report.html", "model/model.json", "model/parts/weights.bin"}


def test_a_resumed_job_goes_on_in_the_same_run(server: Server, folders: Folders) -> None:
    first = tracker_of(server, folders, MLFLOW_EXPERIMENT_NAME="resumed")
    first.train_begin(record_of(0))
    first.epoch_end(record_of(1))
    first.train_end(record_of(1, state="interrupted"))
    (run,) = runs(server, "resumed")
    assert run.info.status == "KILLED"
    assert artifacts(server, run) == {"metrics.json", "report.html"}, "there are two minutes, and the model goes on"

    second = tracker_of(server, folders, MLFLOW_EXPERIMENT_NAME="resumed")
    second.train_begin(record_of(2, {"epochs": "20"}))  # epoch 2 was made, and the first start could not tell it
    second.epoch_end(record_of(2, {"epochs": "20"}))
    second.epoch_end(record_of(3, {"epochs": "20"}))
    (run,) = runs(server, "resumed")
    assert run.info.status == "RUNNING"
    assert [step for step, _ in steps(server, run, "train/loss")] == [1, 2, 3]
    assert run.data.params["epochs"] == "10"
    assert run.data.tags["resumed.epochs"] == "20", "a parameter cannot be changed"
    second.train_end(record_of(3, state="failed"))
    (run,) = runs(server, "resumed")
    assert run.info.status == "FAILED"


def test_a_run_that_was_deleted_is_followed_by_a_new_one(
    server: Server, folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    tracker_of(server, folders, MLFLOW_EXPERIMENT_NAME="deleted").train_begin(record_of(0))
    (run,) = runs(server, "deleted")
    server.client.delete_run(run.info.run_id)
    tracker_of(server, folders, MLFLOW_EXPERIMENT_NAME="deleted").train_begin(record_of(0))
    (new,) = runs(server, "deleted")
    assert new.info.run_id != run.info.run_id
    assert "is gone" in caplog.text


def test_a_job_that_does_not_go_on_has_a_run_of_its_own(server: Server, folders: Folders) -> None:
    for _ in range(2):
        Mlflow(server.uri, None, folders.model, folders.output, {"MLFLOW_EXPERIMENT_NAME": "again"}).train_begin(
            record_of(0)
        )
    assert len(runs(server, "again")) == 2


def test_a_server_that_hangs_costs_a_warning_and_seconds(
    server: Server, folders: Folders, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tracker = tracker_of(server, folders, MLFLOW_EXPERIMENT_NAME="hanging")
    tracker.train_begin(record_of(0))
    with server.standing_still():
        for number in (1, 2, 3):
            tracker.epoch_end(record_of(number))
        tracker.train_end(record_of(3))
    assert caplog.text.count("Nothing more is sent to MLflow") == 1
