"""Steps of the optimiser, over several batches and in several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import forked, shared_steps

from byoc_vision.training.distributed import World

TOLERANCE = 1e-6  # the order of float32 sums differs


def test_accumulated_batches_are_one_large_batch() -> None:
    whole = shared_steps.train(World(), accumulate_steps=1)
    for accumulate_steps in (2, 4):
        parts = shared_steps.train(World(), accumulate_steps)
        torch.testing.assert_close(parts, whole, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_learn_what_one_learns_from_the_same_images(tmp_path: Path, size: int) -> None:
    store, log = str(tmp_path / "store"), tmp_path / "log"
    others = [forked.start(shared_steps.take_part, rank, size, store, log=log) for rank in range(1, size)]
    shared = shared_steps.train_shares(0, size, store)
    assert [process.wait(60) for process in others] == [0] * len(others), log.read_text()
    alone = shared_steps.train(World(), accumulate_steps=1)
    for parameters in shared:
        torch.testing.assert_close(parameters, alone, rtol=0, atol=TOLERANCE)
