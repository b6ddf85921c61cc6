from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support import forked, shared_failure
from support.servers import free_port
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from byoc_vision.errors import InputError
from byoc_vision.job import Job
from byoc_vision.launch.distributed import (
    World,
    any_process,
    convert_batch_norm,
    needs_launch,
    on_rank0,
    processes_per_host,
    sum_over_processes,
    wrap_ddp,
)
from byoc_vision.launch.error_files import read_failures
from byoc_vision.launch.hosts import choose_processes
from byoc_vision.models.build import build_model
from byoc_vision.paths import MlPaths
from byoc_vision.types import ModelSpec, Task


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


@pytest.mark.parametrize(("asked", "gpus", "processes"), [(None, 0, 1), (None, 4, 4), ("2", 0, 2), ("2", 4, 2)])
def test_there_is_a_process_for_each_gpu_or_as_many_as_the_user_asks_for(
    asked: str | None, gpus: int, processes: int
) -> None:
    assert choose_processes(asked, gpus) == processes


def test_more_processes_than_gpus_are_refused_with_the_numbers() -> None:
    with pytest.raises(InputError, match=r"BYOC_PROCESSES_PER_HOST=8: .* this host has 4 .*=4 or less"):
        choose_processes("8", 4)


def test_a_process_that_fails_reports_it_and_ends_though_it_cannot_leave_the_group(tmp_path: Path) -> None:
    """The others wait for it in a collective, until they see that it is gone."""
    port = free_port()
    log = tmp_path / "log"
    started = [forked.start(shared_failure.fail, rank, 2, port, str(tmp_path), log=log) for rank in range(2)]
    first, second = (process.wait(60) for process in started)
    assert second == 4, log.read_text()
    assert first != 0
    cause, consequence = read_failures(tmp_path)
    assert cause.rank == 1
    assert "the GPU's memory does not suffice for batch_size=16; take batch_size=8" in cause.message
    assert consequence.consequence


FAMILIES = [
    ("classification", "resnet18", None),
    ("classification", "mobilenetv2_100", None),
    ("classification", "densenet121", None),
    ("classification", "regnety_002", None),
    ("segmentation", "unet_small", None),
    ("segmentation", "unet", "mobilenet_v2"),
    ("segmentation", "unet", "tu-efficientnet_b0"),
]


@pytest.mark.parametrize(("task", "architecture", "encoder"), FAMILIES)
def test_sync_batch_norm_computes_what_the_network_computes(task: Task, architecture: str, encoder: str | None) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(task=task, architecture=architecture, encoder=encoder, outputs=3)
    net, images = build_model(spec).eval(), torch.randn(2, 3, 64, 64)
    names = list(net.state_dict())
    with torch.inference_mode():
        before = net(images)
        converted = convert_batch_norm(net)
        after = converted(images)
    layers = [type(module) for module in converted.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert layers
    assert all(issubclass(layer, nn.SyncBatchNorm) for layer in layers)
    assert list(converted.state_dict()) == names
    torch.testing.assert_close(after, before)


def test_gradients_are_averaged_in_place_and_statistics_are_not_sent_with_each_step(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = wrap_ddp(nn.BatchNorm1d(3), World(0, 0, 2))  # the group has one process
        assert isinstance(wrapped, DistributedDataParallel)
        assert wrapped.gradient_as_bucket_view
        assert not wrapped.will_sync_module_buffers()
    finally:
        dist.destroy_process_group()
