"""The first hour as a terminal shows it: runs the commands of docs/first-hour.md and writes what they say into it.

    python local_test/first_hour.py [--check]

--check writes nothing: it fails if a command does not say any more what the page shows, up to numbers.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parent.parent / "docs/first-hour.md"
_BEGIN, _END = "<!-- recorded by `make first-hour`: begin -->\n", "<!-- recorded by `make first-hour`: end -->"
_QUICK = "model=mobilenetv3_small_050 image_size=64 epochs=2 batch_size=8 pretrained=false num_workers=0 openvino=false"
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
_PRECISION = re.compile(r"\b(b?float)\d+ on cpu")  # what a processor computes fastest in
# Lines that come when a machine is slow, or that depend on what it has, as health rules about speed do.
_PASSING = re.compile(
    r"progress: |no GPU|\d+ × |precision=auto: |Decoded images are kept|No room for decoded images|"
    r"\w+ \(epoch \d+(, step \d+)?\): "
)


class Step(NamedTuple):
    """A command, and what a reader wants to know before it. hidden: what is done for it without being shown."""

    text: str
    command: str
    status: int = 0
    hidden: str = ""


STEPS = (
    Step(
        "A folder of images, a folder for each class. `check` reads all of them, and says what it takes them for:",
        "byoc-vision check pets",
        hidden="byoc-vision sample-data --output drawn",
    ),
    Step(
        "`train` takes the folder and hyperparameters. A mistyped name is answered with its neighbour, before anything "
        "is written:",
        "byoc-vision train pets epoch=2",
        status=2,
    ),
    Step(
        "Two epochs of a very small network. Results go to `pets-job`, beside the data. The weights are random because "
        "`pretrained=false` says so; by default they come from the model hub:",
        f"byoc-vision train pets {_QUICK}",
    ),
    Step("What the job has written:", "ls pets-job pets-job/model pets-job/output/data"),
    Step(
        "The model predicts images, and folders of them:",
        "byoc-vision predict --model pets-job/model --output predicted new",
    ),
    Step("It is measured on labelled images:", "byoc-vision evaluate pets-job/model validation --output evaluated"),
    Step(
        "The next start goes on from the last checkpoint:",
        f"byoc-vision train pets {_QUICK}".replace("epochs=2", "epochs=3"),
    ),
)


def record() -> str:
    """Run all steps in a folder of their own; the page's part between its marks."""
    with tempfile.TemporaryDirectory(prefix="first-hour-") as folder:
        place = Path(folder).resolve()
        return "\n".join(_shown(step, place) for step in STEPS)


def differences(page: str, recorded: str) -> list[str]:
    """Lines of one that the other does not have, up to numbers and what depends on the machine."""
    before, after = _plain(_recorded_part(page)), _plain(recorded)
    return [line for line in difflib.unified_diff(before, after, "page", "now", lineterm="", n=0)]


def main() -> int:
    """Write the page, or compare it; returns the exit status."""
    parser = argparse.ArgumentParser(description="Record the terminal session of docs/first-hour.md.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    page, recorded = PAGE.read_text(encoding="utf-8"), record()
    if options.check:
        found = differences(page, recorded)
        print("\n".join(found) or f"{PAGE.name}: the commands say what it shows")
        return int(bool(found))
    begin, end = page.index(_BEGIN) + len(_BEGIN), page.index(_END)
    PAGE.write_text(f"{page[:begin]}\n{recorded}\n{page[end:]}", encoding="utf-8")
    return 0


def _shown(step: Step, place: Path) -> str:
    if step.hidden:
        _run(step.hidden, place)
        (place / "drawn/classification/train").rename(place / "pets")
        (place / "drawn/classification/validation").rename(place / "validation")
        (place / "new").mkdir()
        for name in ("circle", "star"):
            first = min((place / "validation" / name).iterdir())
            (place / "new" / f"{name}{first.suffix}").write_bytes(first.read_bytes())
    status, said = _run(step.command, place)
    if status != step.status:
        raise SystemExit(f"{step.command} ended with status {status} instead of {step.status}:\n{said}")
    lines = [line for line in said.splitlines() if not _PASSING.match(line)]
    return f"{step.text}\n\n```console\n$ {step.command}\n" + "\n".join(lines).rstrip() + "\n```\n"


def _run(command: str, place: Path) -> tuple[int, str]:
    words = shlex.split(command)
    if words[0] == "byoc-vision":
        words = [sys.executable, "-m", "byoc_vision", *words[1:]]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "LC_ALL": "C"}
    done = subprocess.run(
        words, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout.replace(f"{place}/", "").replace(str(place), ".")


def _recorded_part(page: str) -> str:
    return page.partition(_BEGIN)[2].partition(_END)[0]


def _plain(text: str) -> list[str]:
    """Without numbers, without the width of columns, which depends on them, and without the processor's precision."""
    lines = (_NUMBER.sub("#", _PRECISION.sub("float# on cpu", line)) for line in text.splitlines())
    lines = (re.sub(r"\s+", " ", line).strip() for line in lines)
    return [line for line in lines if line]


if __name__ == "__main__":
    raise SystemExit(main())
