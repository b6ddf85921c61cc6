"""How long a job took to its first step."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
import torch
from support import forked, started

from byoc_vision.training.callbacks.time_to_first_step import TimeToFirstStep, seconds_since_start


def test_the_first_step_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    first_step = TimeToFirstStep(torch.device("cpu"))
    with caplog.at_level(logging.INFO):
        first_step.step_end()
        first_step.step_end()
    lines = [record.message for record in caplog.records]
    assert len(lines) == 1
    assert lines[0].startswith("The first step was done ")


def test_seconds_count_from_the_start_of_the_process(tmp_path: Path) -> None:
    log, before = tmp_path / "log", time.monotonic()
    assert forked.start(started.tell_seconds, log=log).wait(60) == 0, log.read_text()
    tick = 0.02  # of the clock that counts starts, twice
    assert started.PAUSE - tick <= float(log.read_text()) <= time.monotonic() - before + tick


@pytest.mark.parametrize("content", [None, "", "1 (name) S 2 3"])
def test_a_system_that_does_not_tell(tmp_path: Path, content: str | None) -> None:
    facts = tmp_path / "stat"
    if content is not None:
        facts.write_text(content)
    assert seconds_since_start(facts) is None
