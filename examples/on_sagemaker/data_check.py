"""The channels and the hyperparameters together, read by `byoc-vision check` on this machine."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from findings import Finding, failed, note, ok
from options import LEARNING, Options

_REPOSITORY = Path(__file__).resolve().parents[2]


class DataCheck(NamedTuple):
    """images: for training; None if they were not counted."""

    findings: list[Finding]
    images: int | None = None


def check_data(options: Options) -> DataCheck:
    """Nothing for steps that do not train."""
    if not set(options.steps) & set(LEARNING):
        return DataCheck([])
    command = _command()
    if not options.check or command is None:
        why = "it needs .venv, which `make install` creates" if options.check else "--no-check"
        return DataCheck([note("data", f"not read on this machine: {why}; the job reads them before it trains")])
    with tempfile.TemporaryDirectory() as folder:
        channels, report = Path(folder) / "channels", Path(folder) / "report.json"
        channels.mkdir()
        unread = _unread(options.channels)
        for name in options.channels.keys() - unread:
            (channels / name).symlink_to(options.channels[name], target_is_directory=True)
        done = subprocess.run(
            [*command, "check", str(channels), "--json", str(report), *_arguments(options)],
            capture_output=True,
            text=True,
        )
        said = (done.stdout + done.stderr).replace(f"{channels}/", "").strip()
        if done.returncode != 0:
            return DataCheck([failed("data", _shortened(said))])
        notes = [note("data", f"channel {name}: a job reads no channel of this name") for name in sorted(unread)]
        seen = json.loads(report.read_text(encoding="utf-8"))
        return DataCheck([*_judge(seen, options), *notes], seen["samples"]["train"])


def _command() -> list[str] | None:
    """This Python if it can read images, else the one that `make install` makes: an SDK's has the client alone."""
    if importlib.util.find_spec("cv2"):
        return [sys.executable, "-m", "byoc_vision"]
    own = _REPOSITORY / ".venv/bin/byoc-vision"
    return [str(own)] if own.is_file() else None


def _unread(channels: Iterable[str]) -> set[str]:
    try:
        from byoc_vision.data.formats.channels import NOT_DATA, is_channel_name
    except ModuleNotFoundError:  # in the environment of an SDK, which cannot read images
        return set()
    return {name for name in channels if not is_channel_name(name) and name not in NOT_DATA}


def _arguments(options: Options) -> Iterator[str]:
    """What the hyperparameters say about the data."""
    asked = options.recipe.hyperparameters
    for option, value in (
        ("--task", options.recipe.task),
        ("--layout", asked.data_layout),
        ("--num-classes", asked.num_classes),
        ("--ignore-index", asked.ignore_index),
        ("--trimap-border", asked.trimap_border),
        ("--on-bad-sample", asked.on_bad_sample),
        ("--pictures", asked.checked_pictures),
    ):
        if value is not None:
            yield f"{option}={value}"


def _judge(report: dict[str, Any], options: Options) -> Iterator[Finding]:
    samples = report["samples"]
    counts = ", ".join(f"{count} {split}" for split, count in samples.items())
    yield ok("data", f"{report['task']}: {counts} images, {len(report['classes'])} classes")
    claimed = options.recipe.hyperparameters.num_training_samples
    if claimed is not None and claimed != samples["train"]:
        yield failed("data", f"num_training_samples={claimed}, but there are {samples['train']}; leave it out")
    for warning in report["warnings"]:
        yield note("data", warning)


def _shortened(said: str, lines: int = 6) -> str:
    """What is wrong, without what was found before."""
    found = said.splitlines() or ["`byoc-vision check` failed without a message"]
    start = next((index for index, line in enumerate(found) if line.startswith("Your ")), 0)
    found = found[start:]
    rest = [f"… {len(found) - lines} more lines: `byoc-vision check` shows them"] if len(found) > lines else []
    return "\n".join(found[:lines] + rest)
