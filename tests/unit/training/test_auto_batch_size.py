"""The search for the largest batch."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.precision import choose_precision
from byoc_vision.training.auto_batch_size import Trial, largest_fitting, with_fitting_batch_size
from byoc_vision.training.distributed import World
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


def test_a_trial_is_a_real_step() -> None:
    spec = ModelSpec(task="segmentation", architecture="unet_small", outputs=1)
    device = torch.device("cpu")
    trial = Trial(spec, 16, 32, device, choose_precision("float32", device))
    assert trial.fits(2)
    assert any(state for state in trial.optimizer.state.values())
    assert all(parameter.grad is None for parameter in trial.net.parameters())
