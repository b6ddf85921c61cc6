"""Jobs that are stopped, killed, cut off or short of disk, in the image. docs/reliability.md says what is promised."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from support.containers import Container, Docker, Job
from support.jobs import QUICK

SETTINGS = QUICK | {"model": "unet_small", "image_size": "32,48", "batch_size": 8, "num_workers": 0}
HOSTS = ("algo-1", "algo-2")


def epoch_lines(log: str) -> set[str]:
    return {re.sub(r" seconds=.*", "", line) for line in re.findall(r"^epoch=.*$", log, re.MULTILINE)}


@pytest.mark.parametrize("way", ["stop", pytest.param("kill", marks=pytest.mark.slow)])
def test_a_container_ended_in_mid_run_and_started_again_ends_with_the_same_bits(
    docker: Docker,
    start: Callable[..., Container],
    image: str,
    cars: dict[str, Path],
    tmp_path: Path,
    way: str,
) -> None:
    """On one thread: the order of sums depends on how many there are."""
    settings = SETTINGS | {"epochs": 6, "checkpoint_minutes": 0.005}
    whole, stopped = (Job.make(tmp_path / name, cars, settings) for name in ("whole", "stopped"))
    one_thread = ("--env", "OMP_NUM_THREADS=1")
    expected = docker.output("run", "--rm", *one_thread, *whole.options, image, "train")

    first = start(*one_thread, *stopped.options, image, "train")
    first.wait_for_epoch(2)
    if way == "stop":
        assert first.stop(seconds=120) == 0
        assert (stopped.model / "model.safetensors").exists(), "a stopped job leaves a usable model"
    else:
        first.signal("KILL")
    # What a spot instance gets back are the checkpoints alone.
    shutil.rmtree(stopped.model)
    second = docker.output("run", "--rm", *one_thread, *stopped.options, image, "train")
    assert "Going on from the checkpoint" in second
    assert epoch_lines(first.logs) | epoch_lines(second) == epoch_lines(expected)
    weights = [load_file(job.model / "model.safetensors") for job in (whole, stopped)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_checkpoints_that_cannot_be_written_are_named_at_the_start(
    docker: Docker, image: str, make_job: Callable[..., Job], cars: dict[str, Path], tmp_path: Path
) -> None:
    job = make_job(cars, **SETTINGS)
    (tmp_path / "checkpoints").mkdir()
    read_only = ("--volume", f"{tmp_path / 'checkpoints'}:/opt/ml/checkpoints:ro")
    done = docker.run("run", "--rm", *job.options, *read_only, image, "train", check=False)
    assert done.returncode == 4
    assert job.failure.startswith("Resources: /opt/ml/checkpoints: checkpoints cannot be written there")


def test_a_full_disk_is_named(docker: Docker, image: str, make_job: Callable[..., Job], cars: dict[str, Path]) -> None:
    """Room for one checkpoint, not for the next one beside it."""
    job = make_job(cars, **SETTINGS, epochs=3)
    small = ("--tmpfs", "/opt/ml/checkpoints:size=40m")
    done = docker.run("run", "--rm", *job.options, *small, image, "train", check=False)
    assert done.returncode == 4
    assert "the checkpoint could not be written" in job.failure
    assert "The one before is intact" in job.failure
    assert (job.model / "model.safetensors").exists()


@pytest.fixture
def network(docker: Docker) -> Iterator[str]:
    name = docker.output("network", "create", "byoc-reliability")
    yield name
    docker.run("network", "rm", name)


@pytest.fixture
def hosts(
    network: str, start: Callable[..., Container], image: str, cars: dict[str, Path], tmp_path: Path
) -> dict[str, tuple[Container, Job]]:
    """A job of two hosts that find each other by name, training without an end."""
    started = {}
    for host in HOSTS:
        job = Job.make(tmp_path / host, cars, SETTINGS | {"epochs": 100_000})
        config = {"current_host": host, "hosts": HOSTS, "network_interface_name": "eth0"}
        (job.folder / "input/config/resourceconfig.json").write_text(json.dumps(config))
        place = ("--hostname", host, "--network", network, "--network-alias", host)
        mount = ("--volume", f"{job.folder}:/opt/ml")
        started[host] = (start(*place, *mount, image, "train"), job)
    return started


@pytest.mark.slow
def test_a_host_that_is_cut_off_ends_the_job_everywhere(
    hosts: dict[str, tuple[Container, Job]], docker: Docker, network: str
) -> None:
    first, second = (hosts[host][0] for host in HOSTS)
    first.wait_for_epoch(1)
    docker.run("network", "disconnect", "--force", network, second.id)
    assert [first.exit_status(), second.exit_status()] == [4, 4]
    for host, other in (HOSTS, HOSTS[::-1]):
        failure = hosts[host][1].failure
        assert failure.startswith("Resources ")
        assert other in failure
        assert host in failure


@pytest.mark.slow
def test_both_hosts_stop_together(hosts: dict[str, tuple[Container, Job]]) -> None:
    """SageMaker sends SIGTERM to every host."""
    hosts["algo-1"][0].wait_for_epoch(1)
    for container, _ in hosts.values():
        container.signal("TERM")
    assert [container.exit_status() for container, _ in hosts.values()] == [0, 0]
    assert hosts["algo-1"][1].metrics
    assert list((hosts["algo-1"][1].folder / "checkpoints").glob("checkpoint-*"))
    assert not (hosts["algo-2"][1].model / "model.json").exists(), "the first host alone writes the model"
