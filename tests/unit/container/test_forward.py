"""SIGTERM reaches a job and a server from the first moment of `train` and `serve`, and no process is left.

The scripts of the image run in the shell that runs them there. Some tests replace the program that they start by one
that says what happens to it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.jobs import QUICK, write_hyperparameters
from support.servers import free_port, save_classifier

from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.paths import MlPaths

CONTAINER = Path(__file__).parents[3] / "container"
COMMANDS = ("train", "serve")
PROGRAM = """\
#!{python}
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("asked to stop", flush=True), sys.exit({status})))
print("started", *sys.argv[1:], flush=True)
while not {ends}:
    signal.pause()
sys.exit({status})
"""

Started = subprocess.Popen[str]


class Entry:
    """Starts the scripts, with a program of the test's or the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Started] = []
        self.path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def replace_program(self, status: int = 0, ends: bool = False) -> None:
        program = self.folder / "byoc-vision"
        program.write_text(PROGRAM.format(python=sys.executable, status=status, ends=ends))
        program.chmod(0o755)

    def start(self, command: str, *arguments: str, folder: Path = CONTAINER, **environment: str) -> Started:
        process = subprocess.Popen(
            [folder / command, *arguments],
            env={**os.environ, "PATH": self.path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=interruptible,
        )
        self.started.append(process)
        return process


@pytest.fixture
def entry(tmp_path: Path) -> Iterator[Entry]:
    entry = Entry(tmp_path)
    yield entry
    for process in entry.started:
        if left(process):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()


def interruptible() -> None:
    """A shell's background job ignores SIGINT, and a shell that it starts cannot trap it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def left(process: Started) -> bool:
    """Whether a process of its session is left."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def line(process: Started) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("status", [0, 3])
def test_the_program_s_status_is_the_script_s(entry: Entry, command: str, status: int) -> None:
    entry.replace_program(status, ends=True)
    process = entry.start(command, "--root", "two words")
    assert process.communicate()[0] == f"started {command} --root two words\n"
    assert process.returncode == status


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("status", [0, 143])
def test_a_stop_is_handed_on_and_waited_for(entry: Entry, command: str, number: signal.Signals, status: int) -> None:
    entry.replace_program(status)
    process = entry.start(command)
    assert line(process) == f"started {command}"
    process.send_signal(number)
    assert process.communicate()[0] == "asked to stop\n"
    assert process.returncode == status
    assert not left(process)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stop_before_the_program_starts_is_not_lost(entry: Entry, command: str, tmp_path: Path) -> None:
    """The script waits for the driver's version, which comes from a pipe here."""
    entry.replace_program(ends=True)
    version = tmp_path / "version"
    os.mkfifo(version)
    process = entry.start(command, BYOC_NVIDIA_VERSION_FILE=str(version), BYOC_CUDA_COMPAT_DIR=str(tmp_path))
    with version.open("w") as pipe:  # opens when the script reads it
        process.send_signal(signal.SIGTERM)
        pipe.write("\n")
    assert "started" not in process.communicate()[0]
    assert process.returncode == 143
    assert not left(process)


def test_a_stop_while_the_program_starts_is_not_lost(entry: Entry, tmp_path: Path) -> None:
    """A child that was forked drops the signal until it runs the program. Here it does so once there is a file."""
    entry.replace_program()
    script, go = tmp_path / "script", tmp_path / "go"
    script.write_text(
        f"#!/bin/sh\n. {CONTAINER}/forward.sh\n"
        f"child() {{ trap : TERM; echo forked; until [ -e {go} ]; do sleep 0.01; done; exec byoc-vision; }}\n"
        "forward_to child\n"
    )
    script.chmod(0o755)
    process = entry.start(script.name, folder=tmp_path)
    assert line(process) == "forked"
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)  # the script has handled it
    go.touch()
    process.communicate()
    assert process.returncode in (0, 143)
    assert not left(process)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that takes very long, and a model."""
    paths = MlPaths(tmp_path_factory.mktemp("ml"))
    make_classification_set(paths.channels, count_train=8, count_validation=4, size=40)
    asked = {"model": "resnet10t", "image_size": "32", "batch_size": "4", "epochs": "100000", "num_workers": "0"}
    write_hyperparameters(paths, asked | QUICK | {"resume": "never"})
    save_classifier(paths.model)
    return paths.root


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("delay", [0.05, 0.3, 1, 2])
def test_the_real_program_ends_whenever_it_is_stopped(entry: Entry, command: str, delay: float, root: Path) -> None:
    """143: the stop came before there was anything to save. 0: the job or the server ended in order."""
    process = entry.start(command, "--root", str(root), SAGEMAKER_BIND_TO_PORT=str(free_port()))
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[0]
    assert process.returncode in (0, 143), said
    assert "Traceback" not in said
    assert not left(process)
