"""Several processes: NCCL in a world of one, and sync_batch_norm of every family of networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from support.gpu_steps import CLASSIFIER, SEGMENTER, batch_of, losses, step_of
from torch import nn

from byoc_vision.evaluation.metrics import SegmentationMetrics
from byoc_vision.launch.distributed import (
    World,
    all_gather,
    any_process,
    broadcast_buffers,
    convert_batch_norm,
    on_rank0,
    smallest_over_processes,
    sum_over_processes,
    wrap_ddp,
)
from byoc_vision.models.build import build_model
from byoc_vision.types import ModelSpec, Task

TWO = World(0, 0, 2)  # its size is not the group's, so that nothing is passed over


@pytest.fixture(scope="module")
def group(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """NCCL on a GPU, otherwise Gloo, in a world of one."""
    store = tmp_path_factory.mktemp("group") / "store"
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_every_collective_works(device: torch.device) -> None:
    net = build_model(SEGMENTER).to(device)
    broadcast_buffers(net, TWO)
    assert any_process(True, TWO, device)
    assert smallest_over_processes(7, TWO, device) == 7
    assert sum_over_processes(torch.ones(2, dtype=torch.float64, device=device), TWO).tolist() == [1, 1]
    assert on_rank0(TWO, lambda: {"a": np.zeros(3)})["a"].shape == (3,)
    assert all_gather("a", World(0, 0, 1)) == ["a"]


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wrapped_it_learns_what_it_learns_alone(dtype: torch.dtype, device: torch.device) -> None:
    batch = batch_of(CLASSIFIER, device)
    alone = step_of(CLASSIFIER, dtype, device, "sgd", 0.01)
    wrapped = step_of(CLASSIFIER, dtype, device, "sgd", 0.01)
    object.__setattr__(wrapped, "model", wrap_ddp(wrapped.model, TWO))
    expected, found = losses(alone, batch, 4), losses(wrapped, batch, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-3 if dtype == torch.float32 else 0.1)


def families() -> list[tuple[Task, str, str | None]]:
    """One network of each family with batch normalisation; those whose layers hold activations are timm's."""
    classifiers = [
        "resnet18",
        "mobilenetv2_100",
        "mobilenetv3_small_100",
        "mobilenetv4_conv_small",
        "efficientnet_b0",
        "tf_efficientnetv2_b0",
        "mixnet_s",
        "mnasnet_100",
        "densenet121",
        "regnety_002",
        "dla34",
        "hrnet_w18_small",
        "vgg11_bn",
        "xception41",
        "inception_v3",
        "ghostnet_100",
        "rexnet_100",
        "repvgg_a0",
        "resnest14d",
        "dpn48b",
        "selecsls42b",
        "hardcorenas_a",
        "vovnet39a",
        "cspresnet50",
        "levit_128s",
        "tinynet_e",
        "fbnetc_100",
        "lcnet_050",
        "nf_regnet_b0",
        "mobileone_s0",
        "convnext_atto",
    ]
    encoders = ["resnet34", "mobilenet_v2", "efficientnet-b0", "densenet121", "timm-mobilenetv3_small_075"]
    encoders += ["tu-efficientnet_b0", "tu-mobilenetv3_small_100"]
    found: list[tuple[Task, str, str | None]] = [("classification", name, None) for name in classifiers]
    found += [("segmentation", "unet", encoder) for encoder in encoders]
    return [*found, ("segmentation", "unet_small", None), ("segmentation", "deeplabv3plus", "mobilenet_v2")]


def deviation(task: Task, architecture: str, encoder: str | None, device: torch.device) -> float:
    """How far the converted network's logits are from the network's, in evaluation, as a share of their norm."""
    torch.manual_seed(0)
    spec = ModelSpec(task=task, architecture=architecture, encoder=encoder, outputs=3)
    net = build_model(spec).to(device).eval()
    converted = convert_batch_norm(copy.deepcopy(net)).eval()
    layers = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    side = 224 if architecture == "levit_128s" else 128  # it takes no other size
    images = torch.randn(2, 3, side, side, device=device)
    with torch.inference_mode():
        expected, found = net(images).float(), converted(images).float()
        if device.type == "cuda" and layers:  # it computes on GPUs alone
            assert torch.isfinite(converted.train()(images)).all()
    assert set(converted.state_dict()) == set(net.state_dict())
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("task", "architecture", "encoder"), [family for family in families()[1:9:3]])
def test_sync_batch_norm_leaves_the_predictions(
    task: Task, architecture: str, encoder: str | None, device: torch.device
) -> None:
    assert deviation(task, architecture, encoder, device) < 1e-3


@pytest.mark.gpu
@pytest.mark.usefixtures("group")
def test_sync_batch_norm_leaves_the_predictions_of_every_family(
    device: torch.device, say: Callable[[str], None]
) -> None:
    found, absent = {}, []
    for task, architecture, encoder in families():
        name = encoder or architecture
        try:
            build_model(ModelSpec(task=task, architecture=architecture, encoder=encoder, outputs=3))
        except Exception as error:  # this timm does not have it
            absent.append(f"{name} ({type(error).__name__})")
            continue
        found[name] = deviation(task, architecture, encoder, device)
    worst = max(found, key=lambda name: found[name])
    say(f"{len(found)} networks, {worst} {found[worst]:.2g} apart at most; not here: {', '.join(absent) or 'none'}")
    assert found[worst] < 1e-3
    assert len(absent) < len(found) / 3


@pytest.mark.gpu
@pytest.mark.usefixtures("group")
def test_metrics_are_counted_on_the_gpu_of_the_process(device: torch.device) -> None:
    assert SegmentationMetrics(["a", "b"]).device.type == "cuda"


def test_a_job_trains_in_every_gpu(tmp_path: Path, device: torch.device, say: Callable[[str], None]) -> None:
    """One process for each; on a machine without, two processes on its CPU."""
    from support.gpu_jobs import train

    count = torch.cuda.device_count() if device.type == "cuda" else 2
    job = train(
        tmp_path,
        BYOC_PROCESSES_PER_HOST=str(count),
        model="mobilenetv2_100",
        task="classification",
        epochs="1",
        sync_batch_norm="true",
        freeze_epochs="0",
    )
    assert job.status == 0, job.log
    assert f"{count} process(es)" in job.log
    say(f"{count} process(es): {job.last_epoch}")
