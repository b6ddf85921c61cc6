"""SIGTERM, killed workers and checkpoints that do not fit, through `byoc-vision train` as a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import forked, waiting
from support.forked import Forked
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.paths import MlPaths

pytestmark = pytest.mark.slow

LONG = {
    "model": "test_resnet",
    "image_size": "32",
    "batch_size": "4",
    "epochs": "100000",
    **QUICK,
    "num_workers": "0",
    "checkpoint_minutes": "1e-9",
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    make_classification_set(folder, count_train=16, count_validation=4, size=40)
    return folder


@pytest.fixture
def paths(shapes: Path, tmp_path: Path) -> MlPaths:
    paths = MlPaths(tmp_path / "ml")
    shutil.copytree(shapes, paths.channels)
    ask(paths)
    return paths


def ask(paths: MlPaths, **hyperparameters: str) -> None:
    write_hyperparameters(paths, LONG | hyperparameters)


Start = Callable[..., Forked]


@pytest.fixture
def start(paths: MlPaths) -> Iterator[Start]:
    """Start the job, or another, with more environment variables; its log goes to the file `log` in its folder."""
    started: list[Forked] = []

    def start(job: MlPaths = paths, *, in_group: bool = False, **environment: str) -> Forked:
        command, log = ["train", "--root", str(job.root)], job.root / "log"
        process = forked.start(main, command, log=log, environment=environment, in_group=in_group)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def log_of(paths: MlPaths) -> str:
    return (paths.root / "log").read_text()


def wait_until(condition: Callable[[], object], process: Forked, paths: MlPaths) -> None:
    waiting.wait_until(condition, lambda: log_of(paths), lambda: process.poll() is None)


def has_checkpoint(paths: MlPaths) -> bool:
    return any(paths.checkpoints.glob("checkpoint-*"))


def workers_of(process: Forked) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_whole_group_of_processes_may_be_asked_to_stop(paths: MlPaths, start: Start, number: signal.Signals) -> None:
    """As Ctrl-C asks all that a terminal started, loader processes too."""
    ask(paths, num_workers="2", checkpoint_minutes="1000")
    process = start(in_group=True)
    wait_until(lambda: "epoch=1 " in log_of(paths), process, paths)
    os.killpg(process.pid, number)
    assert process.wait(60) == 0, log_of(paths)
    assert "The job goes on from the checkpoint" in log_of(paths)
    assert "Traceback" not in log_of(paths)
    assert not paths.failure.exists()


def test_sigterm_leaves_a_model_and_a_checkpoint_to_resume_from(paths: MlPaths, start: Start) -> None:
    process = start()
    wait_until(lambda: has_checkpoint(paths) and "epoch=1 " in log_of(paths), process, paths)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log_of(paths)
    assert artifact.load(paths.model)[0].metrics
    assert not paths.failure.exists()
    done = read_metrics(paths)["epochs"]
    assert len(done) >= 1

    shutil.rmtree(paths.model)  # as on a spot instance: only the checkpoints come back
    ask(paths, epochs=str(len(done) + 1))
    assert run_train(paths) == 0
    results = read_metrics(paths)
    assert results["epochs"][: len(done)] == done
    assert len(results["epochs"]) == len(done) + 1
    assert artifact.load(paths.model)[0].metrics["validation:accuracy"] == results["validation"]["accuracy"]


def test_sigterm_in_the_first_epoch_leaves_the_weights_as_they_are(paths: MlPaths, start: Start) -> None:
    ask(paths, batch_size="1", sampling="balanced", accumulate_steps="1", image_size="224", augmentation="strong")
    process = start()
    wait_until(lambda: has_checkpoint(paths), process, paths)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log_of(paths)
    if "epoch=1 " not in log_of(paths):
        assert "No epoch is complete" in log_of(paths)
        assert artifact.load(paths.model)[0].metrics == {}
    assert (paths.model / "model.safetensors").exists()


def test_two_processes_stop_together_and_a_killed_one_is_named(paths: MlPaths, start: Start) -> None:
    process = start(BYOC_PROCESSES_PER_HOST="2")
    wait_until(lambda: has_checkpoint(paths) and "epoch=1 " in log_of(paths), process, paths)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log_of(paths)
    assert artifact.load(paths.model)[0].metrics
    assert not paths.failure.exists()

    process = start(BYOC_PROCESSES_PER_HOST="2")
    wait_until(lambda: re.search(r"Going on.*\n(.*\n)*epoch=", log_of(paths)), process, paths)
    os.kill(workers_of(process)[1], signal.SIGKILL)
    assert process.wait(60) == 4, log_of(paths)
    first_line = paths.failure.read_text().splitlines()[0]
    assert re.match(r"Resources \[rank 1 on \S+\]: the process was killed by SIGKILL", first_line)


def test_a_process_killed_on_one_host_is_named_on_both(paths: MlPaths, start: Start, tmp_path: Path) -> None:
    """Two hosts, as two processes with a loopback address each."""
    hosts = ["127.0.0.1", "127.0.0.2"]
    other = MlPaths(tmp_path / "other")
    shutil.copytree(paths.root, other.root)
    for host, its in zip(hosts, (paths, other), strict=True):
        its.resource_config.write_text(json.dumps({"current_host": host, "hosts": hosts}))
    first, second = start(), start(other)
    wait_until(lambda: has_checkpoint(paths) and "epoch=1 " in log_of(paths), first, paths)
    os.kill(workers_of(second)[0], signal.SIGKILL)
    assert (first.wait(60), second.wait(60)) == (4, 4), log_of(paths)
    said = [its.failure.read_text() for its in (paths, other)]
    assert said[0] == said[1]
    assert said[0].startswith("Resources [rank 1 on 127.0.0.2]: the process was killed by SIGKILL")
    assert not other.checkpoints.exists() or not has_checkpoint(other), "the first process alone writes"


def test_a_mistake_in_one_of_two_processes_is_reported_once(paths: MlPaths, start: Start) -> None:
    ask(paths, model="no_such_model")
    process = start(BYOC_PROCESSES_PER_HOST="2")
    assert process.wait(100) == 2, log_of(paths)
    assert re.match(r"Your input \[rank [01] on \S+\]: .*no_such_model", paths.failure.read_text())


def test_a_training_that_diverges_leaves_the_last_good_checkpoint(paths: MlPaths) -> None:
    ask(paths, epochs="1")
    assert run_train(paths) == 0
    ask(paths, epochs="3", learning_rate="1e30", optimizer="sgd")
    assert run_train(paths) == 2
    assert paths.failure.read_text().startswith("Your input: learning_rate: the training loss is")
    paths.failure.unlink()
    ask(paths, epochs="2")
    assert run_train(paths) == 0
    assert len(read_metrics(paths)["epochs"]) == 2


def refusal(paths: MlPaths, **hyperparameters: str) -> str:
    ask(paths, epochs="1", **hyperparameters)
    paths.failure.unlink(missing_ok=True)
    assert run_train(paths) == 2
    return paths.failure.read_text()


def test_a_checkpoint_of_another_model_is_refused(paths: MlPaths, caplog: pytest.LogCaptureFixture) -> None:
    ask(paths, epochs="1")
    assert run_train(paths) == 0
    failure = refusal(paths, hidden_units="8")
    assert failure.startswith("Your input: the checkpoint is of another model.")
    assert "resume=never" in failure
    assert "hidden_units: none in the checkpoint, (8,) in this job" in failure

    for folder in (paths.channel("train"), paths.channel("validation")):
        next(child for child in folder.iterdir() if child.name == "star").rename(folder / "zebra")
    assert re.search(r"classes: circle, square, star, .* in the checkpoint, .*zebra in this job", refusal(paths))

    ask(paths, epochs="1", resume="never")
    assert run_train(paths) == 0


def test_what_may_change_is_logged(paths: MlPaths, capsys: pytest.CaptureFixture[str]) -> None:
    ask(paths, epochs="1")
    assert run_train(paths) == 0
    capsys.readouterr()
    ask(paths, epochs="2", learning_rate="0.01", batch_size="8")
    assert run_train(paths) == 0
    log = capsys.readouterr().out
    for line in ("epochs: 1 → 2", "learning_rate: 0.001 → 0.01", "batch_size: 4 → 8"):
        assert f"Changed since the checkpoint: {line}" in log
    assert "epoch=2 " in log
    assert "epoch=1 " not in log
