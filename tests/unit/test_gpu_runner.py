"""The runner of the GPU tests: what it makes of a process's end, and of a machine that lacks something."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RUNNER = REPOSITORY / "tests" / "gpu" / "run.py"


def call(code: str) -> str:
    """What a line prints that uses the runner's functions."""
    script = f"import sys; sys.path.insert(0, {str(RUNNER.parent)!r}); import run; print({code})"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("0", "passed"),
        ("1", "failed"),
        ("None", "not finished within 60 s"),
        (str(-signal.SIGSEGV), "crashed: SIGSEGV"),
        ("3", "crashed: pytest ended with 3"),
        ("5", "nothing to run"),
    ],
)
def test_a_crash_is_a_crash_and_not_a_lack_of_time(status: str, outcome: str) -> None:
    assert call(f"run.describe({status}, 60.0)") == outcome


def test_all_files_have_a_limit_and_together_less_than_nine_minutes() -> None:
    assert call("sorted(run.LIMITS)") == str(sorted(path.name for path in RUNNER.parent.glob("test_*.py")))
    assert int(call("sum(run.LIMITS.values())")) <= 540


def test_what_a_file_leaves_of_its_time_is_for_the_next() -> None:
    """Each takes half of what it may; the last one all that is left."""
    taken = "setattr(run, 'run_step', lambda name, limit, *_: run.Step(name, 'passed', limit / 2))"
    limits = "setattr(run, 'LIMITS', {'first': 100, 'second': 40, 'third': 10})"
    seconds = "[step.seconds for step in run.run_steps([], {}, factor=2)]"
    assert call(f"{limits} or {taken} or {seconds}") == "[100.0, 90.0, 55.0]"


def test_missing_packages_are_named(tmp_path: Path) -> None:
    """Python without the site's packages stands for it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "WHEELS")}
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    code = f"import runpy, sys; sys.executable = {str(bare)!r}; runpy.run_path({str(RUNNER)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "missing here: torch, torchvision, timm" in done.stderr
    assert "benchmarks/gpu_wheels.txt" in done.stderr


def test_gpu_tests_are_collected_by_their_own_target_alone() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "tests/gpu/run.py" in makefile
    assert 'testpaths = ["tests/unit", "tests/integration"]' in (REPOSITORY / "pyproject.toml").read_text()
    assert "pytest.mark.gpu" not in "".join(
        path.read_text()
        for folder in ("unit", "integration")
        for path in (REPOSITORY / "tests" / folder).rglob("*.py")
        if path != Path(__file__)
    )
