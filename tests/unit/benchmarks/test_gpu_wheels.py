"""The wheels that go to a GPU machine are the locked ones."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
PIN = re.compile(r"^([\w.-]+)==([^\s\\;]+)", re.MULTILINE)


def pins(*path: str) -> dict[str, str]:
    return dict(PIN.findall(REPOSITORY.joinpath(*path).read_text(encoding="utf-8")))


def test_the_wheels_are_pinned_as_in_the_lock() -> None:
    wheels = pins("benchmarks", "gpu_wheels.txt")
    lock = pins("docker", "requirements-dev.lock")
    assert len(wheels) > 20
    assert wheels == {name: lock[name] for name in wheels}
