"""How far the weights after steps in parts are from those of one batch: the table in docs/reliability.md.

    PYTHONPATH=src:serve:tests python -m support.equal_steps

measures it and writes the table. The last digits depend on the processor; the test of the steps holds the bound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from support import forked, shared_steps
from support.readme import REPOSITORY
from torch import Tensor

from byoc_vision.launch.distributed import World

PAGE = REPOSITORY / "docs" / "reliability.md"
START, END = "<!-- equal steps: made by `python -m support.equal_steps` -->", "<!-- end of equal steps -->"
PARTS = (2, 4, 14)
PROCESSES = (2, 4)
COLUMNS = (*(f"{parts} batches" for parts in PARTS), *(f"{size} processes" for size in PROCESSES))

Learnt = Mapping[str, list[Tensor]]


def measure() -> dict[str, list[float]]:
    """The largest difference of any weight as a share of the largest change, by case, in the order of `COLUMNS`."""
    whole = learnt(1)
    others = [*map(learnt, PARTS), *map(learnt_by_processes, PROCESSES)]
    shares = {}
    for name, case in shared_steps.CASES.items():
        torch.manual_seed(0)  # as `train` does
        change = largest(whole[name], [*case.net().parameters(), whole[name][-1]])
        shares[name] = [largest(other[name], whole[name]) / change for other in others]
    return shares


def learnt(parts: int) -> Learnt:
    return {name: shared_steps.train(case, World(), parts) for name, case in shared_steps.CASES.items()}


def learnt_by_processes(size: int) -> Learnt:
    """Each process takes its images in one batch."""
    with tempfile.TemporaryDirectory() as folder:
        store, log = str(Path(folder, "store")), Path(folder, "log")
        others = [forked.start(shared_steps.take_part, rank, size, store, log=log) for rank in range(1, size)]
        shared = shared_steps.train_shares(0, size, store)
        assert [process.wait(100) for process in others] == [0] * len(others), log.read_text()
    return {name: values for (name, parts), values in shared.items() if parts == 1}


def largest(one: list[Tensor], other: list[Tensor]) -> float:
    """Of the weights; the last tensor holds the sums of the loss."""
    return max(float((a - b).detach().abs().max()) for a, b in zip(one[:-1], other[:-1], strict=True))


def table(rows: Mapping[str, list[float]]) -> str:
    lines = [["loss and targets", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
    lines += [
        [name, *(f"{value:.0e}".replace("e-0", "e-").replace("0e+00", "0") for value in values)]
        for name, values in rows.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def documented() -> dict[str, list[float]]:
    """The table in the documentation."""
    text = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.strip().splitlines()]
    assert rows[0][1:] == list(COLUMNS)
    return {name: [float(value) for value in values] for name, *values in rows[2:]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(f"{before}{START}\n{table(measure())}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
