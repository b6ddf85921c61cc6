"""What the processes tell each other between steps."""

from __future__ import annotations

from pathlib import Path

import torch
from support import forked, shared_stop_sync

from byoc_vision.launch.distributed import StopSync, World


def test_alone_each_step_looks() -> None:
    stop_sync = StopSync(World(), torch.device("cpu"))
    assert stop_sync(False, False) == (False, False)
    assert stop_sync(True, False) == (True, False)
    assert stop_sync(False, True) == (False, True)


def test_two_processes_leave_in_the_same_step_and_seldom_ask(tmp_path: Path) -> None:
    store, log = str(tmp_path / "store"), tmp_path / "log"
    second = forked.start(shared_stop_sync.tell_steps, 1, store, log=log)
    mine = shared_stop_sync.steps_together(0, store)
    assert second.wait(60) == 0, log.read_text()
    assert log.read_text().splitlines()[-1] == str(mine)
    stopped_at, checkpoints = mine
    assert shared_stop_sync.ASKED_AT <= stopped_at <= shared_stop_sync.ASKED_AT + 11
    assert 2 <= len(checkpoints) <= 5, "one exchange in ten steps, of a tenth of a second each"
