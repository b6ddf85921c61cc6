"""Hostile and damaged files of ../shared/hostile, a real server that gets them, and a table of what they cost it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers import Server, save_segmenter, start
from support.strain import Strain

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS: dict[str, Strain] = {}


@pytest.fixture(scope="session")
def recipes() -> Path:
    """The folder of the scripts that make the files."""
    folder = Path(os.environ.get("BYOC_SHARED", REPOSITORY.parent / "shared")) / "hostile"
    assert folder.is_dir(), f"there is no {folder}; BYOC_SHARED=… names the folder that holds hostile/"
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a server: a small U-Net, as a job leaves it."""
    root = tmp_path_factory.mktemp("root")
    save_segmenter(root / "model", for_cpus=True)
    return root


@pytest.fixture(scope="session")
def images(recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    make(recipes / "images.py", str(folder))
    return folder


@pytest.fixture(scope="session")
def archives(recipes: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives; what they must not write to is `outside` in it."""
    folder = tmp_path_factory.mktemp("archives")
    make(recipes / "archives.py", str(model / "model"), str(folder))
    return folder


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With its defaults, as an endpoint has them."""
    with start(model, tmp_path_factory.mktemp("log") / "server.log") as server:
        server.pings_until(200)
        yield server


@pytest.fixture(scope="session")
def table() -> dict[str, Strain]:
    """What each request cost; printed in the end."""
    return ROWS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    width = max(map(len, ROWS), default=0)
    for name, row in ROWS.items():
        terminalreporter.write_line(f"{name:{width}}  {row}")


def make(script: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", script, *arguments], check=True, stdout=subprocess.DEVNULL)
