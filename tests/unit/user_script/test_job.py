"""What a job with the user's own script leaves in its model, and how torchrun is started."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.scripts import write_script

from byoc_vision.user_script.job import keep_inference_script, launcher, torchrun_command


def test_an_inference_script_becomes_part_of_the_model(tmp_path: Path) -> None:
    for name in ("inference.py", "train.py", "lib/net.py", "__pycache__/net.pyc"):
        write_script(tmp_path, "", f"code/{name}")
    keep_inference_script(tmp_path / "code", tmp_path / "model")
    kept = sorted(str(path.relative_to(tmp_path / "model/code")) for path in (tmp_path / "model/code").rglob("*.py*"))
    assert kept == ["inference.py", "lib/net.py", "train.py"]


def test_what_the_script_wrote_itself_stays(tmp_path: Path) -> None:
    write_script(tmp_path, "theirs", "code/inference.py")
    write_script(tmp_path, "its own", "model/code/inference.py")
    keep_inference_script(tmp_path / "code", tmp_path / "model")
    assert (tmp_path / "model/code/inference.py").read_text() == "its own"


def test_without_one_nothing_is_copied(tmp_path: Path) -> None:
    write_script(tmp_path, "", "code/train.py")
    keep_inference_script(tmp_path / "code", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "7777")
    start = [sys.executable, "-m", "torch.distributed.run", "--nnodes"]
    assert torchrun_command(["algo-1"], "algo-1", 4) == [*start, "1", "--nproc-per-node", "4", "--standalone"]
    assert torchrun_command(["algo-1", "algo-2"], "algo-2", 1) == [
        *start, "2", "--nproc-per-node", "1", "--node-rank", "1", "--master-addr", "algo-1", "--master-port", "7777",
    ]  # fmt: skip


@pytest.mark.parametrize(("asked", "gpus", "processes"), [(None, 0, 1), (None, 4, 4), ("2", 0, 2), ("2", 4, 2)])
def test_the_processes_of_a_host(monkeypatch: pytest.MonkeyPatch, asked: str | None, gpus: int, processes: int) -> None:
    monkeypatch.setenv("BYOC_PROCESSES_PER_HOST", asked or "")
    env = SimpleNamespace(hosts=["algo-1"], current_host="algo-1", num_gpus=gpus, to_cmd_args=lambda: ["--lr", "1"])
    command = launcher(env, "train.py")
    assert command[command.index("--nproc-per-node") + 1] == str(processes)
    assert command[-3:] == ["train.py", "--lr", "1"]
