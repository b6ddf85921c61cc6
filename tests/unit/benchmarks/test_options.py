"""A benchmark only reads options that its command line has."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SCRIPTS = sorted(path for path in BENCHMARKS.glob("*.py") if "parse_args()" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.name))
def test_every_option_that_is_read_exists(script: Path) -> None:
    nodes = list(ast.walk(ast.parse(script.read_text(encoding="utf-8"))))
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "options"}
    assert read <= {destination(node) for node in nodes if isinstance(node, ast.Call) and is_argument(node)}


@pytest.mark.slow
def test_the_scaling_of_images_is_measured() -> None:
    command = [sys.executable, str(BENCHMARKS / "scaling.py"), "--vary", "images", "--most", "64"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("images 64: cold "), done.stderr


def is_argument(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"


def destination(call: ast.Call) -> str:
    """The attribute of `options` that an argument sets: `dest`, else its first name."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "dest"]
    return str(ast.literal_eval((named or call.args)[0])).removeprefix("--").replace("-", "_")
