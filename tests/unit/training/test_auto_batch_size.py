"""The search for the largest batch."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.samples import Dataset
from byoc_vision.describe.step_memory import fakes, training_memory, training_step
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World
from byoc_vision.models.losses import Activation, Dice
from byoc_vision.paths import MlPaths
from byoc_vision.precision import Precision
from byoc_vision.training.auto_batch_size import (
    Trial,
    choose_size,
    largest_fitting,
    largest_useful,
    saved_batch_size,
    with_fitting_batch_size,
)
from byoc_vision.training.checkpoint import Checkpointer
from byoc_vision.types import ModelSpec


@given(st.integers(0, 5000), st.integers(1, 4096))
def test_the_largest_that_fits_is_found_in_few_trials(limit: int, most: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= limit

    assert largest_fitting(fits, most) == min(limit, most)
    assert len(tried) <= 26
    assert max(tried) <= most


def test_on_a_cpu_the_batch_size_stays(caplog: pytest.LogCaptureFixture) -> None:
    assert not torch.cuda.is_available()
    asked = Hyperparameters(auto_batch_size=True, batch_size=7)
    with caplog.at_level(logging.INFO):
        assert with_fitting_batch_size(asked, Dataset("classification", (), (), ()), World()).batch_size == 7
    assert "on the CPU batch_size stays 7" in caplog.text


CPU = torch.device("cpu")


def trial_of(spec: ModelSpec, dtype: torch.dtype = torch.float32, **hyperparameters: Any) -> Trial:
    activation: Activation = "sigmoid" if spec.outputs == 1 else "softmax"
    return Trial(spec, (16, 32), CPU, Precision(dtype, "cpu"), Hyperparameters(**hyperparameters), activation)


def test_a_trial_is_a_step_of_the_job() -> None:
    spec = ModelSpec(task="segmentation", architecture="unet_small", outputs=1)
    trial = trial_of(spec, optimizer="adam", loss="dice", clip_grad_norm=1.0)
    assert trial.fits(2)
    assert type(trial.step.optimizer) is torch.optim.Adam
    assert type(trial.step.loss) is Dice
    assert trial.step.clip_grad_norm == 1.0
    assert all(state for state in trial.step.optimizer.state.values())
    assert all(parameter.grad is None for parameter in trial.step.model.parameters())


@pytest.mark.parametrize("outputs", [1, 21])
def test_a_trial_takes_the_memory_of_the_jobs_step(outputs: int) -> None:
    """Counted on fake tensors. A lighter loss than the job's would leave the job without memory."""
    spec = ModelSpec(task="segmentation", architecture="unet_small", outputs=outputs)
    trial = trial_of(spec, torch.bfloat16)
    job = training_memory(spec, (16, 32), 8, dtype=torch.bfloat16).peak
    with fakes(trial.step.model) as (model, live):
        step = training_step(spec, model, "adamw", torch.bfloat16)
        trial.step = replace(trial.step, model=model, loss=step.loss, optimizer=step.optimizer, schedule=step.schedule)
        trial.run(8)
        assert live.peak >= 0.99 * job


@pytest.mark.parametrize("said", ["CUDA error: out of memory", "FIND was unable to find an engine to execute this"])
def test_whatever_says_that_memory_ran_out_ends_a_trial(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = trial_of(ModelSpec(task="segmentation", architecture="unet_small", outputs=1))

    def fail(images: int) -> None:
        raise RuntimeError(said if images > 3 else "shapes differ")

    monkeypatch.setattr(trial, "run", fail)
    assert not trial.fits(4)
    with pytest.raises(RuntimeError, match="shapes differ"):
        trial.fits(3)


@pytest.mark.parametrize(
    ("images", "asked", "most"),
    [(84, 16, 16), (3068, 16, 306), (10, 16, 10), (1, 16, 1), (0, 16, 1), (10**6, 16, 4096)],
)
def test_a_small_data_set_keeps_several_steps_an_epoch(images: int, asked: int, most: int) -> None:
    assert largest_useful(images, asked) == most


def test_memory_is_spared_only_if_it_is_the_limit() -> None:
    assert choose_size(found=100, most=100) == 100
    assert choose_size(found=100, most=400) == 90
    assert choose_size(found=1, most=400) == 1


def test_a_resumed_job_keeps_the_batch_size_that_was_found(tmp_path: Path) -> None:
    asked = Hyperparameters(auto_batch_size=True)
    checkpointer = Checkpointer.of(MlPaths(tmp_path), asked, World())
    assert saved_batch_size(asked, checkpointer) is None
    checkpointer.hold({"hyperparameters": {"auto_batch_size": True, "batch_size": 48}, "best_number": None})
    checkpointer.confirm()
    checkpointer.wait()
    assert saved_batch_size(asked, checkpointer) == 48
    assert saved_batch_size(Hyperparameters(auto_batch_size=True, resume="never"), checkpointer) is None
