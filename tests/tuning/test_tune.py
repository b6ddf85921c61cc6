"""`byoc-vision tune` as a process, with real training jobs: going on, two at once, pruning, failures, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState
from support import searches
from support.waiting import wait_until

from byoc_vision import artifact
from byoc_vision import hyperparameters as hp
from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.tuning.folder import SearchFolder
from byoc_vision.tuning.request import read_request
from byoc_vision.tuning.study import Study

pytestmark = pytest.mark.timeout(300)

QUICK = {"model": "test_resnet", "image_size": "32", "batch_size": "4", "epochs": "1", "num_workers": "0"}
LONG = QUICK | {"epochs": "100000"}

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    make_classification_set(folder, count_train=8, count_validation=4, size=40)
    return folder


@pytest.fixture
def command(shapes: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a search from a recipe, and more."""

    def command(recipe: dict[str, str], *more: str) -> list[str]:
        file = tmp_path / "recipe.json"
        file.write_text(json.dumps(recipe))
        return ["tune", "--recipe", str(file), "--data", str(shapes), "--output", str(tmp_path / "out"), *more]

    return command


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(arguments: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "byoc_vision", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # What a shell runs in the background ignores Ctrl-C, and so does all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lines_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    def said() -> str:
        process.kill()
        return process.communicate()[0]

    wait_until(condition, said, lambda: process.poll() is None)


def log_of(folder: Path, number: int) -> str:
    path = folder / f"trials/{number:04}/log.txt"
    return path.read_text() if path.exists() else ""


def test_two_commands_share_a_search_that_is_resumed(
    command: Callable[..., list[str]], start: Start, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    both = [start(command(QUICK, "--trials", "2")) for _ in range(2)]
    said = [process.communicate(timeout=250)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [line["trial"] for line in lines_of(out)] == ["0", "1"]
    assert sum("trial 0:" in text for text in said) == 1
    assert sum("trial 1:" in text for text in said) == 1

    before = lines_of(out)
    assert main(command(QUICK, "--trials", "3")) == 0
    after = lines_of(out)
    assert after[:2] == before
    assert [line["state"] for line in after] == ["complete"] * 3

    best = max(after, key=lambda line: (float(line["validation:accuracy"]), -int(line["trial"])))
    config = artifact.read_config(out / "model")
    assert config.metrics["validation:accuracy"] == pytest.approx(float(best["validation:accuracy"]), abs=1e-6)
    assert (out / "model/openvino").is_dir()
    assert "Run it again" in (out / "report.html").read_text()
    found = hp.parse(json.loads((out / "best_hyperparameters.json").read_text()))
    assert found.batch_size == int(best["batch_size"])
    assert list(out.glob("trials/*/model")) == []


def test_a_hopeless_trial_is_stopped(command: Callable[..., list[str]], shapes: Path, tmp_path: Path) -> None:
    """The other trials, which were not trained, have almost no loss from the first epoch on."""
    arguments = command(LONG, "--trials", "5", "--metric", "loss")
    request = read_request(arguments[2], shapes, "loss")
    folder = SearchFolder(tmp_path / "out")
    folder.prepare()
    study = Study(folder, request, seed=0)
    for _ in range(4):
        searches.complete(study, [1e-6] * 4)
    assert main(arguments) == 0
    pruned = lines_of(tmp_path / "out")[-1]
    assert pruned["state"] == "pruned"
    assert pruned["epochs_done"].endswith(f" of {pruned['epochs']}")
    assert int(pruned["epochs_done"].split()[0]) == 2
    assert float(pruned["validation:loss"]) > 1e-6
    assert not (tmp_path / "out/trials/0004/model").exists()


def test_failures_are_reported_and_equal_ones_end_the_search(
    command: Callable[..., list[str]], shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hyperparameters that do not fit each other, which a job sees once it knows its task."""
    broken = QUICK | {"model": "resnet18", "resize": "letterbox", "short_side": "64"}
    assert main(command(broken, "--trials", "9")) == 2
    said = capsys.readouterr().out
    assert "none of 3 trials produced a model" in said
    lines = lines_of(tmp_path / "out")
    assert [line["state"] for line in lines] == ["failed"] * 3
    assert all("short_side=64 goes with resize=short_side" in line["reason"] for line in lines)
    assert "short_side=64" in (tmp_path / "out/tuning.html").read_text()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_search_resumes_the_same_trial(
    number: signal.Signals, status: int, command: Callable[..., list[str]], start: Start, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(command(LONG, "--trials", "1"))
    until(lambda: "epoch=1 " in log_of(out, 0), process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert log_of(out, 0).count("epoch=") < int(LONG["epochs"])
    assert "the same command resumes" in said
    assert lines_of(out) == []
    assert (out / "tuning.html").exists()

    request = read_request(str(tmp_path / "recipe.json"), Path(command(LONG)[4]))
    study = Study(SearchFolder(out), request, seed=0)
    assert [trial.state for trial in study.optuna.trials] == [TrialState.FAIL, TrialState.WAITING]
    running = study.next_trial(1)
    assert running is not None
    assert running.hyperparameters["learning_rate"] == "0.001"
