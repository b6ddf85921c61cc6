"""A user's script as a process, and what the failure file says of each kind of failing script."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support.waiting import wait_until

from byoc_vision.launch.error_files import FAILURE_BYTES
from byoc_vision.user_script.process import Ended, describe_end, run_script


def run(tmp_path: Path, code: str) -> Ended:
    (tmp_path / "mine.py").write_text(dedent(code), encoding="utf-8")
    return run_script([sys.executable, "mine.py"], tmp_path)


def failure(tmp_path: Path, code: str) -> str:
    text = describe_end("mine.py", run(tmp_path, code))
    assert 0 < len(text.encode()) <= FAILURE_BYTES
    return text


def test_what_it_writes_is_passed_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(tmp_path, "import sys\nprint('result')\nsys.stderr.write('a\\n\\nb')")
    assert capfd.readouterr() == ("result\n", "a\n\nb")
    assert ended == Ended(0, "a\n\nb", asked=False)


def test_the_exception_comes_first_then_the_place(tmp_path: Path) -> None:
    text = failure(tmp_path, "import os\ndef f():\n    import no_such_module\nf()\n")
    first, second, *rest = text.splitlines()
    assert first in {
        f"ModuleNotFoundError: No module named 'no_such_module' ({file}, line 3)"
        for file in ("mine.py", tmp_path / "mine.py")
    }
    assert second == "mine.py ended with status 1:"
    assert "    import no_such_module" in rest


def test_the_place_is_in_the_users_own_file(tmp_path: Path) -> None:
    text = failure(tmp_path, "import json\n\njson.loads('{')\n")
    assert text.startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert text.splitlines()[0].endswith("mine.py, line 3)")


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("x = 1\ndef f(:\n    pass\n", r"SyntaxError: invalid syntax \(\S*mine.py, line 2\)"),
        ("def f():\npass\n", r"IndentationError: expected .* \(\S*mine.py, line 2\)"),
        ("import mine2\n", r"SyntaxError: invalid syntax \(\S*mine2.py, line 1\)"),
    ],
)
def test_a_script_that_is_not_python(tmp_path: Path, code: str, first: str) -> None:
    (tmp_path / "mine2.py").write_text("def f(:\n")
    text = failure(tmp_path, code)
    assert re.fullmatch(first, text.splitlines()[0])
    assert "^" in text


def test_a_script_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"x = '\xff'\n")
    text = describe_end("mine.py", run_script([sys.executable, "mine.py"], tmp_path))
    assert re.match(r"SyntaxError: .*mine.py.* on line 1", text)
    assert text.endswith("\nmine.py ended with status 1")


def test_the_members_of_a_group(tmp_path: Path) -> None:
    text = failure(
        tmp_path,
        """
        import asyncio
        async def work(number):
            raise OSError(f"worker {number}")
        async def main():
            async with asyncio.TaskGroup() as group:
                for number in range(2): group.create_task(work(number))
        asyncio.run(main())
        """,
    )
    assert text.startswith("ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions): OSError: worker 0; OSE")
    assert text.splitlines()[0].endswith("mine.py, line 4)")
    assert "|" not in text


def test_a_message_that_begins_with_an_empty_line_and_quotes_a_traceback(tmp_path: Path) -> None:
    text = failure(tmp_path, "raise OSError('\\n\\nfirst\\n  Traceback (most recent call last):\\n ...')")
    assert text.startswith("OSError: first ")


def test_a_log_of_an_exception_is_not_why_the_script_was_killed(tmp_path: Path) -> None:
    text = failure(
        tmp_path,
        "import logging, os\ntry:\n    1 / 0\nexcept Exception:\n    logging.exception('tried again')\n"
        "os.kill(os.getpid(), 9)\n",
    )
    assert text.startswith("mine.py was killed by SIGKILL, mostly for lack of memory\n")
    assert text.endswith("ZeroDivisionError: division by zero")


def test_of_a_chain_the_last_exception(tmp_path: Path) -> None:
    text = failure(tmp_path, "try:\n    1 / 0\nexcept Exception as error:\n    raise KeyError('x') from error\n")
    assert text.startswith("KeyError: 'x' (")
    assert text.splitlines()[0].endswith("mine.py, line 4)")
    assert re.fullmatch(r"from ZeroDivisionError: division by zero \(\S*mine.py, line 2\)", text.splitlines()[1])


@pytest.mark.parametrize("length", [5_000, 200_000])
def test_a_very_long_message_leaves_room_for_the_traceback(tmp_path: Path, length: int) -> None:
    text = failure(tmp_path, f"raise ValueError('é' * {length})")
    assert text.startswith("ValueError: éé")
    assert "line 1" in text


def test_the_cause_behind_a_launcher(tmp_path: Path) -> None:
    """As torchrun, which raises an error of its own when a process of its fails."""
    text = failure(
        tmp_path,
        """
        import subprocess, sys
        subprocess.run([sys.executable, "-c", "raise RuntimeError('in the process')"], check=True)
        """,
    )
    assert text.startswith("RuntimeError: in the process")


def test_ranks_of_torch(tmp_path: Path) -> None:
    lines = ("Traceback (most recent call last):", '  File "mine.py", line 3, in <module>', "OSError: disk")
    tail = "".join(f"[rank0]: {line}\n" for line in lines)
    assert describe_end("mine.py", Ended(1, tail, asked=False)).startswith("OSError: disk (mine.py, line 3)")


# As torchrun ends: its own traceback, then its report, here of rank 1.
TORCHRUN = """\
W1129 17:45:58.947000 4192 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 4219 closing signal
E1129 17:45:58.951000 4192 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: CODE) local_rank: 1
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/usr/lib/python3.11/site-packages/torch/distributed/launcher/api.py", line 386, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:\x20
======================================================
mine.py FAILED
------------------------------------------------------
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 4219)  (SIGTERM)
------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-29_17:45:58
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : CODE (pid: 4220)
  error_file: <N/A>
======================================================
"""
KEY_ERROR = """\
[rank1]: Traceback (most recent call last):
[rank1]:   File "mine.py", line 3, in <module>
[rank1]: KeyError: 'x'
"""
CLOSED = """\
[rank0]: Traceback (most recent call last):
[rank0]:   File "mine.py", line 4, in <module>
[rank0]: RuntimeError: [gloo] Connection closed by peer
"""


@pytest.mark.parametrize(
    ("before", "code", "words"),
    [
        (KEY_ERROR + CLOSED, 1, "KeyError: 'x' (mine.py, line 3)\nmine.py ended with status 1 (rank 1):\n"),
        (CLOSED, -9, "mine.py was killed by SIGKILL, mostly for lack of memory (rank 1)\nTraceback"),
        ("", -9, "mine.py was killed by SIGKILL, mostly for lack of memory (rank 1) and wrote nothing to stderr"),
        ("no images\n", 3, "mine.py ended with status 3 (rank 1)\nno images"),
        ('  File "mine.py", line 2\n    def f(:\n          ^\nSyntaxError: invalid syntax\n', 1,
         "SyntaxError: invalid syntax (mine.py, line 2)\nmine.py ended with status 1 (rank 1):\n"),
    ],
)  # fmt: skip
def test_why_a_process_of_torchrun_ended(before: str, code: int, words: str) -> None:
    ended = Ended(1, before + TORCHRUN.replace("CODE", str(code)), asked=False)
    assert describe_end("mine.py", ended).startswith(words)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(7)", "mine.py ended with status 7 and wrote nothing to stderr"),
        ("raise SystemExit('no images found')", "mine.py ended with status 1\nno images found"),
        ("import os; os.kill(os.getpid(), 9)", "mine.py was killed by SIGKILL, mostly for lack of memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "mine.py was ended by SIGABRT"),
        ("import argparse; p = argparse.ArgumentParser(); p.add_argument('--x', required=True); p.parse_args()",
         "mine.py ended with status 2\nusage:"),
    ],
)  # fmt: skip
def test_scripts_without_a_traceback(tmp_path: Path, code: str, words: str) -> None:
    assert failure(tmp_path, code).startswith(words)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    assert "secret" not in failure(tmp_path, "raise OSError('https://user:secret@host/x')")


def test_a_process_left_behind_does_not_hold_the_job(tmp_path: Path) -> None:
    code = (
        "import subprocess\nleft = subprocess.Popen(['sleep', '600'])\n"
        "open('left', 'w').write(str(left.pid))\nraise SystemExit(3)"
    )
    assert run(tmp_path, code).status == 3
    os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)


def test_sigterm_that_comes_while_the_script_starts_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def start_and_be_stopped(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started = start(*arguments, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return started

    monkeypatch.setattr(subprocess, "Popen", start_and_be_stopped)
    ended = run(tmp_path, "import time\ntime.sleep(100)\n")
    assert (ended.status, ended.asked) == (-signal.SIGTERM, True)


def test_sigterm_is_passed_on(tmp_path: Path) -> None:
    """The script finishes its checkpoint and ends by itself."""
    (tmp_path / "mine.py").write_text(
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('saved').touch(), sys.exit(0)))\n"
        "pathlib.Path('started').touch()\nsignal.pause()\n"
    )
    runner = (
        "import sys, pathlib; from byoc_vision.user_script.process import run_script\n"
        f"ended = run_script([sys.executable, 'mine.py'], pathlib.Path({str(tmp_path)!r}))\n"
        "sys.exit(20 + ended.status if ended.asked else 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", runner], env=os.environ)
    wait_until((tmp_path / "started").exists, lambda: "the script did not start")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 20
    assert (tmp_path / "saved").exists()
