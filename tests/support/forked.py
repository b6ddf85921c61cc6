"""Processes of their own that have no imports to wait for: forked from one that has made them all.

They are as real as those that a command starts, with an id, signals, a folder and an environment of their own, and
nothing of the test's in their memory. Only the seconds of imports that every process of a job begins with are spared.
A test of how a process is started starts a command.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch

TESTS = Path(__file__).parents[1]
LIBRARIES = "support.libraries"


class Forked:
    """A process that was forked; like a subprocess.Popen."""

    def __init__(self, process: ForkServerProcess) -> None:
        assert process.pid is not None
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        """Its exit status, less than 0 where a signal ended it; None as long as it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired where it still runs after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    function: Callable[..., int | None],
    *arguments: Any,
    log: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    in_group: bool = False,
) -> Forked:
    """Have a process call a function, whose answer is its exit status.

    function: of a module that other processes can import. log: the file to which all that it says is added.
    folder: where it stands. environment: of its own, besides the test's. in_group: whether it leads a group.
    """
    place = (folder or Path.cwd(), {**os.environ, **(environment or {})}, in_group)
    log.touch()
    process = _server().Process(target=_run, args=(function, arguments, log, *place))
    process.start()
    return Forked(process)


@functools.cache
def _server() -> ForkServerContext:
    """Where processes are forked: another process, for it must not have threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([LIBRARIES])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
        forkserver.ensure_running()
    atexit.register(_kill_all)
    return context


def _kill_all() -> None:
    """What a test that failed left behind; this process would wait for it."""
    for process in multiprocessing.active_children():
        if isinstance(process, ForkServerProcess):
            process.kill()


def _run(
    function: Callable[..., int | None],
    arguments: tuple[Any, ...],
    log: Path,
    folder: Path,
    environment: Mapping[str, str],
    in_group: bool,
) -> None:
    assert LIBRARIES in sys.modules, "imported before the fork"
    multiprocessing.set_start_method("fork", force=True)  # as a command's process has it, and not the forking server's
    if in_group:
        os.setpgid(0, 0)
    # What a shell runs in the background ignores Ctrl-C, and so does all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("ab") as file:
        for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(file.fileno(), descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # which the server's imports have looked up
    torch.set_num_threads(1)
    sys.exit(function(*arguments))
