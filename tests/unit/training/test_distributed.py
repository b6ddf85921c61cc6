from __future__ import annotations

from pathlib import Path

import pytest
import torch

from byoc_vision.errors import InputError
from byoc_vision.job import Job
from byoc_vision.paths import MlPaths
from byoc_vision.training.distributed import (
    World,
    any_process,
    needs_launch,
    on_rank0,
    processes_per_host,
    sum_over_processes,
)


def job(*hosts: str, current: str | None = None, interface: str | None = None) -> Job:
    return Job(MlPaths(Path("/opt/ml")), hosts=hosts, current_host=current or hosts[0], network_interface=interface)


def test_one_host_without_gpus_needs_no_launcher() -> None:
    assert torch.cuda.device_count() <= 1
    assert not needs_launch(job("localhost"))
    assert needs_launch(job("algo-1", "algo-2"))


def test_a_launched_process_does_not_launch_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    assert not needs_launch(job("algo-1", "algo-2"))


def test_processes_on_cpus_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOC_PROCESSES_PER_HOST", "2")
    assert processes_per_host() == 2
    assert needs_launch(job("localhost"))
    for wrong in ("0", "two", "-1"):
        monkeypatch.setenv("BYOC_PROCESSES_PER_HOST", wrong)
        with pytest.raises(InputError, match=f"BYOC_PROCESSES_PER_HOST={wrong} is not a number of processes"):
            processes_per_host()


def test_alone_nothing_is_communicated() -> None:
    world = World()
    assert on_rank0(world, lambda: 7) == 7
    assert sum_over_processes(torch.tensor([1.0, 2.0]), world).tolist() == [1.0, 2.0]
    assert any_process(True, world, torch.device("cpu"))
    assert not any_process(False, world, torch.device("cpu"))


def test_the_place_comes_from_torchruns_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    world = World.from_environment()
    assert world == World(rank=3, local_rank=1, size=4)
    assert not world.is_main
