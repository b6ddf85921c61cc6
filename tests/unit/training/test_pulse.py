"""What the processes tell each other between steps."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import PIPE, Popen

import torch
import torch.distributed as dist
from support import shared_pulse

from byoc_vision.training.distribution import World
from byoc_vision.training.pulse import Agreement, Pulse

TESTS = Path(__file__).parents[2]


def test_alone_each_step_looks() -> None:
    pulse = Pulse(World(), torch.device("cpu"))
    assert pulse(False, False) == Agreement(False, False)
    assert pulse(True, False) == Agreement(True, False)
    assert pulse(False, True) == Agreement(False, True)


def test_two_processes_leave_in_the_same_step_and_seldom_ask(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    command = [sys.executable, "-m", "support.shared_pulse", store]
    with Popen(command, cwd=TESTS, stdout=PIPE, text=True) as second:
        shared_pulse.join(0, store)
        mine = shared_pulse.steps(0)
        dist.destroy_process_group()
        theirs = second.communicate()[0].strip()
    assert str(mine) == theirs
    stopped_at, checkpoints = mine
    assert shared_pulse.ASKED_AT <= stopped_at <= shared_pulse.ASKED_AT + 11
    assert 2 <= len(checkpoints) <= 5, "one exchange in ten steps, of a tenth of a second each"
