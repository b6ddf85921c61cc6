"""Steps of the optimiser, over several batches and in several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support import shared_steps

from byoc_vision.training.distribution import World
from byoc_vision.training.loop import grouped

TESTS = Path(__file__).parents[2]
TOLERANCE = 1e-6  # the order of float32 sums differs


def test_accumulated_batches_are_one_large_batch() -> None:
    whole = shared_steps.train(World(), accumulate_steps=1)
    for accumulate_steps in (2, 4):
        parts = shared_steps.train(World(), accumulate_steps)
        torch.testing.assert_close(parts, whole, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("count", "size", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 3, [1]), (0, 2, [])])
def test_grouping(count: int, size: int, sizes: list[int]) -> None:
    batches = [(torch.tensor(index), torch.tensor(index)) for index in range(count)]
    groups = list(grouped(batches, size))
    assert [len(group) for group in groups] == sizes
    assert [int(pictures) for group in groups for pictures, _ in group] == list(range(count))


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_learn_what_one_learns_from_the_same_pictures(tmp_path: Path, size: int) -> None:
    store = str(tmp_path / "store")
    command = [sys.executable, "-m", "support.shared_steps"]
    others = [
        subprocess.Popen([*command, str(rank), str(size), store], cwd=TESTS, stderr=subprocess.PIPE, text=True)
        for rank in range(1, size)
    ]
    world = shared_steps.join(0, size, store)
    try:
        shared = [shared_steps.train(world, accumulate_steps) for accumulate_steps in (1, 2)]
    finally:
        dist.destroy_process_group()
    errors = [process.communicate(timeout=60)[1] for process in others]
    assert [process.returncode for process in others] == [0] * len(others), "\n".join(errors)
    alone = shared_steps.train(World(), accumulate_steps=1)
    for parameters in shared:
        torch.testing.assert_close(parameters, alone, rtol=0, atol=TOLERANCE)
