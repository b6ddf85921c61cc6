"""A user's project from training to serving, with real images; and torchrun on two hosts.

What SageMaker's training toolkit adds is in tests/container/test_scripts.py: the toolkit is only in the image.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.containers import some_files
from support.servers import free_port, start

from byoc_vision.user_script.job import torchrun_command
from byoc_vision.user_script.process import describe_end, run_script
from byoc_vision.user_script.report import report_on_script
from smdebug.core.modes import ModeKeys
from smdebug.trials import create_trial

pytestmark = pytest.mark.timeout(300)

REPOSITORY = Path(__file__).parents[2]
PROJECT = REPOSITORY / "tests/support/script_project"
CLOTHES = Path(os.environ.get("BYOC_SHARED_DATA", REPOSITORY.parent / "shared/data")) / "clothing"
NAMES = ("dress", "hat", "shoes")


def environment(**variables: object) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY / "src"),
        **{name: str(text) for name, text in variables.items()},
    }


@pytest.mark.real_data
def test_a_project_trains_on_real_images_and_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))  # of smdebug, which is not installed here
    for split, count in (("train", 40), ("validation", 20)):
        for name in NAMES:
            some_files(CLOTHES / split / name, tmp_path / split / name, count)
    model, output = tmp_path / "model", tmp_path / "output"
    shutil.copytree(PROJECT, model / "code")
    channels = {"SM_CHANNEL_TRAIN": tmp_path / "train", "SM_CHANNEL_VALIDATION": tmp_path / "validation"}
    variables = environment(SM_MODEL_DIR=model, SM_OUTPUT_DATA_DIR=output, **channels)
    ended = run_script([sys.executable, "train.py", "--epochs", "8", "--lr", "0.003"], PROJECT, variables)
    assert ended.status == 0, ended.tail
    assert ended.tail.count("SageMaker Debugger is retired") == 1

    trial = create_trial(output)
    assert trial.tensor("CrossEntropyLoss_output_0").steps(mode=ModeKeys.TRAIN) == list(range(8 * 4))
    accuracy = trial.tensor("accuracy").values(ModeKeys.EVAL)
    assert max(accuracy.values()) > 0.45, "chance is a third"
    report = report_on_script([output], output)
    assert report is not None
    assert "CrossEntropyLoss_output_0, training" in report.read_text()

    with start(tmp_path, tmp_path / "log") as server:
        server.pings_until(200)
        images = sorted((tmp_path / "validation").rglob("*.jpg"))
        answers = [server.post(image.read_bytes(), "image/jpeg").json() for image in images]
        assert server.post(b"{}", "application/json").status_code == 400
    assert all(sum(answer.values()) == pytest.approx(1, abs=1e-4) for answer in answers)
    right = [max(answer, key=answer.get) == image.parent.name for image, answer in zip(images, answers, strict=True)]
    assert sum(right) / len(right) == list(accuracy.values())[-1], "what is served is what the script measured"


SUM = """
import os, sys, torch, torch.distributed
torch.distributed.init_process_group("gloo")
total = torch.ones(1) * (torch.distributed.get_rank() + 1)
torch.distributed.all_reduce(total)
print("sum", total.item(), "of", torch.distributed.get_world_size(), file=sys.stderr)
torch.distributed.destroy_process_group()
if len(sys.argv) > 1 and torch.distributed.is_available() and os.environ["RANK"] == "0":
    raise KeyError("in one of two")
"""


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two names of this machine, as of two hosts."""
    (tmp_path / "sum.py").write_text(SUM)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return "127.0.0.1", "localhost"


def test_torchrun_on_two_hosts(hosts: tuple[str, str], tmp_path: Path) -> None:
    commands = [[*torchrun_command(hosts, host, 1), "sum.py"] for host in hosts]
    with ThreadPoolExecutor() as pool:
        tails = list(pool.map(run_host, commands, [tmp_path] * 2))
    assert all("sum 3.0 of 2" in tail for tail in tails), tails


def test_the_places_of_torchruns_processes(hosts: tuple[str, str], tmp_path: Path) -> None:
    """Two processes on each of two hosts."""
    names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    show = f"import os, sys; sys.stderr.write(' '.join(['place', *(os.environ[name] for name in {names})]) + '\\n')"
    (tmp_path / "show.py").write_text(show)
    commands = [[*torchrun_command(hosts, host, 2), "show.py"] for host in hosts]
    with ThreadPoolExecutor() as pool:
        tails = list(pool.map(run_host, commands, [tmp_path] * 2))
    places = [sorted(line for line in tail.splitlines() if line.startswith("place ")) for tail in tails]
    assert places == [["place 0 0 0 4 2", "place 1 1 0 4 2"], ["place 2 0 1 4 2", "place 3 1 1 4 2"]]


def test_the_failure_of_a_process_of_torchrun(hosts: tuple[str, str], tmp_path: Path) -> None:
    ended = run_script([*torchrun_command(hosts[:1], hosts[0], 2), "sum.py", "fail"], tmp_path)
    assert ended.status == 1
    assert describe_end("sum.py", ended).startswith("KeyError: 'in one of two' (")


def test_a_process_of_torchrun_that_is_killed(hosts: tuple[str, str], tmp_path: Path) -> None:
    code = "import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(600)"
    (tmp_path / "bad.py").write_text(code)
    ended = run_script([*torchrun_command(hosts[:1], hosts[0], 2), "bad.py"], tmp_path)
    words = "bad.py was killed by SIGKILL, mostly for lack of memory (rank 1) and wrote nothing to stderr"
    assert describe_end("bad.py", ended) == words


HOST = """
import pathlib, sys
from byoc_vision.user_script.process import run_script
ended = run_script(sys.argv[2:], pathlib.Path(sys.argv[1]))
sys.exit(ended.status)
"""


def run_host(command: list[str], folder: Path) -> str:
    """Run a command as a host's job does, in a process of its own; what it said on stderr."""
    done = subprocess.run([sys.executable, "-c", HOST, folder, *command], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr
