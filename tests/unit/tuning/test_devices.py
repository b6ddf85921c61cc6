"""A GPU for each trial, or a share of the cores."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from byoc_vision.tuning.devices import one_gpu, threads


def test_each_trial_gets_a_gpu_that_is_free(tmp_path: Path) -> None:
    """Also where two commands share a search, each of which begins with its first."""
    names = ("0", "GPU-5e/b")
    with ExitStack() as running:
        given = [running.enter_context(one_gpu(names, 0, tmp_path))["CUDA_VISIBLE_DEVICES"] for _ in range(2)]
        assert given == ["0", "GPU-5e/b"]
        third = running.enter_context(one_gpu(names, 1, tmp_path))
        assert third == {"CUDA_VISIBLE_DEVICES": "GPU-5e/b"}, "none is free, so it shares one"
    with one_gpu(names, 0, tmp_path) as after:
        assert after == {"CUDA_VISIBLE_DEVICES": "0"}


def test_on_a_cpu_nothing_is_chosen(tmp_path: Path) -> None:
    with one_gpu((), 0, tmp_path) as given:
        assert given == {}


def test_trials_beside_each_other_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byoc_vision.tuning.devices.available_cores", lambda: 8)
    assert threads({}, 1) == {}
    assert threads({}, 3) == {"OMP_NUM_THREADS": "2"}
    assert threads({}, 20) == {"OMP_NUM_THREADS": "1"}
    assert threads({"OMP_NUM_THREADS": "4"}, 3) == {}
