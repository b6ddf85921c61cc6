"""What can be wrong before a process is started; the rest is in tests/slow/test_interruption.py."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from byoc_vision.errors import ResourceError
from byoc_vision.job import Job
from byoc_vision.launch.agent import efa_is_unused, explain_signal, launch, launch_environment
from byoc_vision.launch.error_files import report_failure
from byoc_vision.paths import MlPaths


def test_hosts_that_do_not_appear_stand_in_the_failure_file(tmp_path: Path) -> None:
    job = Job(MlPaths(tmp_path), hosts=("localhost", "no-such-host.invalid"), current_host="localhost")
    before = dict(os.environ)
    with pytest.raises(ResourceError) as error:
        launch(job, ["train"], hosts_within_s=0)
    assert report_failure(job.paths.failure, error.value) == 4
    failure = job.paths.failure.read_text()
    assert failure.startswith("Resources: these hosts of the job did not appear within 0 s: no-such-host.invalid")
    assert dict(os.environ) == before


def job_of(*hosts: str, interface: str | None = None) -> Job:
    return Job(MlPaths(Path("/opt/ml")), hosts=hosts, current_host=hosts[0], network_interface=interface)


def test_the_network_interface_is_named_only_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    assert launch_environment(job_of("a", "b", interface="eth0"))["GLOO_SOCKET_IFNAME"] == "eth0"
    assert "GLOO_SOCKET_IFNAME" not in launch_environment(job_of("a", "b"))


def test_what_the_user_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "mine")
    assert launch_environment(job_of("a", "b", interface="eth0"))["NCCL_SOCKET_IFNAME"] == "mine"


def test_processes_divide_the_cores_that_they_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with a share of the machine's cores."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("BYOC_PROCESSES_PER_HOST", "2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert int(launch_environment(job_of("a"))["OMP_NUM_THREADS"]) <= 3


@pytest.mark.parametrize(
    ("signum", "cause", "remedy"),
    [
        (signal.SIGKILL, "for lack of memory", "a smaller batch_size"),
        (signal.SIGABRT, "NCCL aborts when another process does not answer", "NCCL_DEBUG=INFO"),
        (signal.SIGBUS, "shared memory is full", "--shm-size"),
        (signal.SIGSEGV, "crashed in a library", "precision=float32"),
    ],
)
def test_a_process_that_a_signal_ended_is_explained_by_the_signal(
    signum: signal.Signals, cause: str, remedy: str
) -> None:
    error = explain_signal(signum)
    assert signum.name in str(error)
    assert cause in str(error)
    assert remedy in str(error)
    assert error.exit_code == 4


def test_a_fabric_adapter_that_nccl_cannot_use_is_noticed(tmp_path: Path) -> None:
    """Its gradients would travel over TCP, and nothing would say so."""
    assert not efa_is_unused({}, tmp_path)
    (tmp_path / "uverbs0").touch()
    environment = {"LD_LIBRARY_PATH": f":{tmp_path}"}
    assert efa_is_unused(environment, tmp_path)
    (tmp_path / "libnccl-net.so").touch()
    assert not efa_is_unused(environment, tmp_path)
