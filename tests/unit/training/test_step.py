"""Steps of the optimiser, over several batches and in several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import equal_steps, forked, shared_steps

from byoc_vision.training.distributed import World

TOLERANCE = 1e-5  # the order of float32 sums differs


@pytest.fixture(scope="module")
def whole() -> dict[str, list[torch.Tensor]]:
    """What one process learns from each step's images in one batch."""
    return {name: shared_steps.train(case, World(), 1) for name, case in shared_steps.CASES.items()}


@pytest.mark.parametrize("parts", [2, 4, 14])
@pytest.mark.parametrize("name", shared_steps.CASES)
def test_accumulated_batches_are_one_large_batch(name: str, parts: int, whole: dict[str, list[torch.Tensor]]) -> None:
    accumulated = shared_steps.train(shared_steps.CASES[name], World(), parts)
    torch.testing.assert_close(accumulated, whole[name], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_learn_what_one_learns_from_the_same_images(
    tmp_path: Path, size: int, whole: dict[str, list[torch.Tensor]]
) -> None:
    store, log = str(tmp_path / "store"), tmp_path / "log"
    others = [forked.start(shared_steps.take_part, rank, size, store, log=log) for rank in range(1, size)]
    shared = shared_steps.train_shares(0, size, store)
    assert [process.wait(60) for process in others] == [0] * len(others), log.read_text()
    for (name, _), learnt in shared.items():
        torch.testing.assert_close(learnt, whole[name], rtol=TOLERANCE, atol=TOLERANCE)


def test_the_documented_differences_are_of_every_loss_and_within_the_tolerance() -> None:
    """`python -m support.equal_steps` measures them."""
    documented = equal_steps.documented()
    assert list(documented) == list(shared_steps.CASES)
    assert all(0 <= value <= TOLERANCE for values in documented.values() for value in values)


def test_class_weights_count_also_in_batches_of_one() -> None:
    """Each batch divided by its own weights would cancel them."""
    weighted, plain = shared_steps.CASES["labels, weighted"], shared_steps.CASES["labels"]
    assert not torch.allclose(
        shared_steps.train(weighted, World(), 14)[-2], shared_steps.train(plain, World(), 14)[-2], atol=1e-3
    )
