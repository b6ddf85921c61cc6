"""schemathesis sends a real server what its own description of the API allows, and what it forbids."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.servers import save_classifier, save_segmenter, start

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("save", [lambda folder: save_segmenter(folder, size=32), save_classifier])
def test_the_server_keeps_to_its_description(save: Callable[[Path], object], tmp_path: Path) -> None:
    save(tmp_path / "model")
    with start(tmp_path, tmp_path / "log") as server:
        server.pings_until(200)
        done = run_schemathesis(f"{server.url}/openapi.json", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "4 selected / 4 total" in done.stdout, "all operations except the description itself"
    assert "Traceback" not in server.log.read_text()


def run_schemathesis(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """All of its checks, the same examples in every run."""
    options = ["--max-examples=60", "--seed=1", "--generation-deterministic", "--warnings=off", "--no-color"]
    path = os.pathsep.join((str(HERE), str(HERE.parent), *sys.path))
    return subprocess.run(
        [SCHEMATHESIS, "--config-file", HERE / "schemathesis.toml", "run", url, *options],
        cwd=folder,  # it leaves files where it runs
        env={**os.environ, "SCHEMATHESIS_HOOKS": "images", "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
