"""How long a job took to its first step."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from byoc_vision.training.startup import FirstStep, seconds_since_start


def test_the_first_step_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    first_step = FirstStep(torch.device("cpu"))
    with caplog.at_level(logging.INFO):
        first_step()
        first_step()
    lines = [record.message for record in caplog.records]
    assert len(lines) == 1
    assert lines[0].startswith("The first step was done ")


def test_seconds_count_from_the_start_of_the_process() -> None:
    program = """
import time
time.sleep(0.5)
from byoc_vision.training.startup import seconds_since_start
print(seconds_since_start())
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    tick = 0.02  # of the clock that starts are told by, twice
    assert 0.5 - tick <= float(done.stdout) <= time.monotonic() - started + tick


@pytest.mark.parametrize("content", [None, "", "1 (name) S 2 3"])
def test_a_system_that_does_not_tell(tmp_path: Path, content: str | None) -> None:
    facts = tmp_path / "stat"
    if content is not None:
        facts.write_text(content)
    assert seconds_since_start(facts) is None
