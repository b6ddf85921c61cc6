"""Whole jobs: resumption, evaluation, precision, out of memory, and what a machine's GPUs may lack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.gpu_jobs import Ran, run, sample_data, train

from byoc_vision.errors import ResourceError
from byoc_vision.models.torch_compile import what_is_missing
from byoc_vision.system.gpus import Gpus, check_gpus, find_gpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs")
    sample_data(path)
    return path


@pytest.fixture(scope="module")
def whole(folder: Path) -> Ran:
    """A job of four epochs that was not interrupted."""
    job = train(folder, "whole", model="unet_small", epochs="4")
    assert job.status == 0, job.log
    return job


def apart(one: Ran, other: Ran) -> float:
    """The largest difference of two models' weights."""
    weights, others = (load_file(job.folder / "model" / "model.safetensors") for job in (one, other))
    return max(float((weights[name].float() - others[name].float()).abs().max()) for name in weights)


def test_an_interrupted_job_goes_on(folder: Path, whole: Ran, device: torch.device, say: Callable[[str], None]) -> None:
    """On a CPU bit for bit. On a GPU sums are added in another order each time; how much that is, is measured."""
    stopped = train(folder, "stopped", stop_after="epoch=1", model="unet_small", epochs="4")
    assert stopped.status == 0, stopped.log
    resumed = train(folder, "stopped", model="unet_small", epochs="4")
    assert resumed.status == 0, resumed.log
    assert "Going on from the checkpoint" in resumed.log
    again = train(folder, "again", model="unet_small", epochs="4")
    said = f"weights differ by {apart(whole, again):.2g} from run to run, by {apart(whole, resumed):.2g} if resumed"
    say(said)
    if device.type == "cpu":
        assert apart(whole, resumed) == apart(whole, again) == 0


def test_a_model_is_evaluated_as_on_the_cpu(folder: Path, whole: Ran, say: Callable[[str], None]) -> None:
    found = []
    data = sample_data(folder) / "segmentation" / "validation"
    for precision, environment in (
        ("float32", {"CUDA_VISIBLE_DEVICES": ""}),
        ("float32", {}),
        ("bfloat16", {}),
    ):
        log = folder / f"evaluate-{len(found)}.log"
        arguments = ["evaluate", "--model", str(whole.folder / "model"), "--data", str(data), "--precision", precision]
        assert run(arguments, log, **environment) == 0, log.read_text()
        text = log.read_text()
        found.append(json.loads(text[text.index("{") : text.rindex("}") + 1])["dice"])
    say(f"dice {found[0]:.5f} on the CPU, {found[1]:.5f} here, {found[2]:.5f} in bfloat16")
    assert found[1] == pytest.approx(found[0], abs=2e-3)
    assert found[2] == pytest.approx(found[0], abs=2e-2)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "learning_rate": "0.05"},
        {"optimizer": "nag", "learning_rate": "0.05", "clip_grad_norm": "1", "accumulate_steps": "2"},
        {"optimizer": "adamw"},
    ],
    ids=lambda settings: settings["optimizer"],
)
def test_a_job_in_float16_learns(folder: Path, settings: dict[str, str], say: Callable[[str], None]) -> None:
    job = train(
        folder, f"float16-{settings['optimizer']}", model="unet_small", precision="float16", epochs="2", **settings
    )
    assert job.status == 0, job.log
    say(job.last_epoch)


def test_the_encoder_is_frozen_and_learns_later(folder: Path) -> None:
    job = train(folder, "frozen", task="classification", model="mobilenetv2_100", epochs="2", freeze_epochs="1")
    assert job.status == 0, job.log


@pytest.mark.gpu
def test_a_batch_that_is_too_large_is_explained(folder: Path) -> None:
    # About 250 GiB, of which 0.3 GiB lie in main memory.
    job = train(folder, "large", model="unet", image_size="1024", batch_size="64", num_workers="0", epochs="1")
    assert job.status == 4, job.log
    assert "the GPU's memory does not suffice for batch_size=64; take batch_size=32" in job.failure


@pytest.mark.gpu
def test_the_largest_batch_is_found_and_kept(folder: Path, say: Callable[[str], None]) -> None:
    settings = {"model": "unet", "encoder": "resnet34", "image_size": "256", "auto_batch_size": "true"}
    first = train(folder, "auto", epochs="1", **settings)
    assert first.status == 0, first.log
    second = train(folder, "auto", epochs="2", **settings)
    assert second.status == 0, second.log
    assert "as in the checkpoint" in second.log
    say(next(line for line in first.log.splitlines() if "auto_batch_size: batch_size=" in line)[-80:])


def test_gpus_that_cannot_be_used_end_the_job(folder: Path) -> None:
    """Without a GPU: a device file stands for one. On a GPU machine CUDA is set to use one that is not there."""
    devices = folder / "devices"
    devices.mkdir()
    for index in range(99):
        (devices / f"nvidia{index}").touch()
    settings = {"BYOC_NVIDIA_DEVICES": str(devices), "CUDA_VISIBLE_DEVICES": "98", "BYOC_PROCESSES_PER_HOST": "1"}
    job = train(folder, "unusable", model="unet_small", epochs="1", **settings)
    assert job.status == 4, job.log
    assert "none of the 1 GPU(s) of this machine can be used" in job.failure
    assert "allow_cpu_fallback=true" in job.failure


@pytest.mark.gpu
def test_more_processes_than_gpus_are_refused(folder: Path) -> None:
    job = train(folder, "processes", model="unet_small", BYOC_PROCESSES_PER_HOST="99")
    assert job.status == 2, job.log
    assert "BYOC_PROCESSES_PER_HOST=99: each process needs a GPU of its own" in job.failure


def test_this_machine_is_described(device: torch.device, say: Callable[[str], None]) -> None:
    gpus = find_gpus()
    say(f"{gpus}; kernels for {', '.join(gpus.architectures) or 'none'}")
    assert check_gpus(gpus, allow_cpu_fallback=False) is None
    assert bool(gpus.names) == (device.type == "cuda")


@pytest.mark.gpu
def test_a_v100_is_refused_by_name_with_this_torchs_kernels() -> None:
    kernels = tuple(torch.cuda.get_arch_list())
    volta = Gpus("580.95.05", torch.version.cuda, None, ("Tesla V100-SXM2-16GB",), ((7, 0),), kernels, present=1)
    if torch.version.cuda and int(torch.version.cuda.split(".")[0]) >= 13:
        with pytest.raises(ResourceError, match="V100"):
            check_gpus(volta, allow_cpu_fallback=False)


@pytest.mark.gpu
def test_a_compiled_network_learns(folder: Path, say: Callable[[str], None]) -> None:
    """The last: it takes minutes."""
    job = train(folder, "compiled", model="unet_small", compile="true", epochs="1")
    if missing := what_is_missing():
        assert job.status == 2
        assert f"compile=true needs {missing}" in job.failure
        say(f"refused here: {missing}")
    else:
        assert job.status == 0, job.log
        say(job.last_epoch)
