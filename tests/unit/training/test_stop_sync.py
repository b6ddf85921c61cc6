"""What the processes tell each other between steps."""

from __future__ import annotations

from pathlib import Path

import torch
from support import forked, shared_pulse

from byoc_vision.training.distributed import World
from byoc_vision.training.pulse import Agreement, Pulse


def test_alone_each_step_looks() -> None:
    pulse = Pulse(World(), torch.device("cpu"))
    assert pulse(False, False) == Agreement(False, False)
    assert pulse(True, False) == Agreement(True, False)
    assert pulse(False, True) == Agreement(False, True)


def test_two_processes_leave_in_the_same_step_and_seldom_ask(tmp_path: Path) -> None:
    store, log = str(tmp_path / "store"), tmp_path / "log"
    second = forked.start(shared_pulse.tell_steps, 1, store, log=log)
    mine = shared_pulse.steps_together(0, store)
    assert second.wait(60) == 0, log.read_text()
    assert log.read_text().splitlines()[-1] == str(mine)
    stopped_at, checkpoints = mine
    assert shared_pulse.ASKED_AT <= stopped_at <= shared_pulse.ASKED_AT + 11
    assert 2 <= len(checkpoints) <= 5, "one exchange in ten steps, of a tenth of a second each"
