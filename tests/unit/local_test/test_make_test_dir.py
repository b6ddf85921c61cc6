"""The folder laid out as /opt/ml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "local_test/make_test_dir.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    """Two class folders; one image is a link, as in a data set that shares files."""
    folder = tmp_path / "pictures"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.jpg").write_bytes(name.encode())
    (folder / "dog" / "2.jpg").symlink_to(folder / "cat/1.jpg")
    return folder


def test_channels_and_hyperparameters(tmp_path: Path, channel: Path) -> None:
    root = tmp_path / "ml"
    done = run(root, f"--channel=train={channel}", "epochs=3", "--channel", f"test={channel}", "expression=a=b")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{root}\n"
    config = root / "input/config"
    assert json.loads((config / "hyperparameters.json").read_text()) == {"epochs": "3", "expression": "a=b"}
    assert json.loads((config / "inputdataconfig.json").read_text()).keys() == {"train", "test"}
    assert json.loads((config / "resourceconfig.json").read_text())["hosts"] == ["algo-1"]
    copied = sorted(path.relative_to(root / "input/data") for path in (root / "input/data").rglob("*.jpg"))
    assert [str(path) for path in copied[:3]] == ["test/cat/1.jpg", "test/dog/1.jpg", "test/dog/2.jpg"]
    assert len(copied) == 6
    assert (root / "input/data/train/dog/2.jpg").read_bytes() == b"cat"
    assert not (root / "input/data/train/dog/2.jpg").is_symlink(), "a link would lead nowhere in a container"
    assert (root / "model").is_dir()


def test_drawn_images(tmp_path: Path) -> None:
    done = run(tmp_path / "ml", "--task", "classification")
    assert done.returncode == 0, done.stderr
    channels = {path.name for path in (tmp_path / "ml/input/data").iterdir()}
    assert {"train", "validation"} <= channels
    assert any((tmp_path / "ml/input/data/train").rglob("*.jpg"))


def test_a_folder_in_use_is_left_alone(tmp_path: Path, channel: Path) -> None:
    assert run(tmp_path / "ml", f"--channel=train={channel}").returncode == 0
    again = run(tmp_path / "ml", f"--channel=train={channel}")
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize("argument", ["--channel=train=/no/such/folder", "--channel=train", "epochs"])
def test_a_mistake_is_named(tmp_path: Path, argument: str) -> None:
    done = run(tmp_path / "ml", argument)
    assert done.returncode == 2
    assert argument.rpartition("=")[2] in done.stderr
    assert not (tmp_path / "ml").exists()
