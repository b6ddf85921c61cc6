"""What is done on the way to the first step, and the time that it took."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from byoc_vision import hyperparameters as hp
from byoc_vision.training.startup import FirstStep, importing, libraries, seconds_since_start


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ({}, ["torch._dynamo", "timm"]),
        ({"model": "resnet18"}, ["torch._dynamo", "timm"]),
        ({"model": "unet"}, ["torch._dynamo"]),
        ({"model": "unet", "encoder": "resnet18"}, ["torch._dynamo", "segmentation_models_pytorch"]),
    ],
)
def test_libraries_are_those_that_the_model_needs(raw: dict[str, str], names: list[str]) -> None:
    assert libraries(hp.parse(raw)) == names


def test_modules_are_there_when_the_work_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waits_for_the_work.py").write_text(
        "import sys, time\n"
        "deadline = time.monotonic() + 30\n"
        "while not hasattr(sys, 'work_has_begun') and time.monotonic() < deadline:\n"
        "    time.sleep(0.01)\n"
        "beside = hasattr(sys, 'work_has_begun')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with importing(["no_such_module", "waits_for_the_work"]):
        monkeypatch.setattr(sys, "work_has_begun", True, raising=False)
    assert sys.modules.pop("waits_for_the_work").beside


def test_an_error_of_the_work_is_its_own() -> None:
    with pytest.raises(ValueError, match="no such picture"), importing(["json"]):
        raise ValueError("no such picture")


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
