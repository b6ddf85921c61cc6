"""What the tests on a GPU share: the device, the seconds of each test in the log, and the figures that they measure.

Tests without the marker `gpu` also run on a CPU, on smaller networks.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from byoc_vision.precision import allow_tf32

ON_GPU = torch.cuda.is_available()
_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU, or the CPU of a machine without."""
    allow_tf32()
    return torch.device("cuda", 0) if ON_GPU else torch.device("cpu")


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Put what was measured into the log and the results."""
    return request.node.stash.setdefault(_FIGURES, []).append


@pytest.fixture(autouse=True)
def _free_memory() -> Iterator[None]:
    yield
    if ON_GPU:
        gc.collect()  # an error that was caught refers to the frames that failed, and these to their tensors
        torch.cuda.empty_cache()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    report.figures = item.stash.get(_FIGURES, [])
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "call" and report.passed:
        return
    figures = "; ".join(getattr(report, "figures", []))
    test = report.nodeid.rpartition("/")[2]
    print(f"\n{report.outcome:7} {report.duration:6.1f} s  {test}" + (f": {figures}" if figures else ""), flush=True)
    if results := os.environ.get("BYOC_GPU_RESULTS"):
        line = {"test": test, "outcome": report.outcome, "seconds": round(report.duration, 2), "figures": figures}
        with Path(results).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
