"""The file of a process's values: a line of JSON for each.

    {"name": "CrossEntropyLoss_output_0", "collection": "losses", "mode": "TRAIN", "step": 7, "global_step": 7,
     "value": 0.53}

`step` counts the steps of the mode, `global_step` all; both from 0. A value that is not finite is a text, "nan".
"""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PATTERN = "scalars-*.jsonl"


class Value(NamedTuple):
    name: str
    collection: str
    mode: str
    step: int
    global_step: int
    value: float


def to_line(value: Value) -> str:
    number = value.value if math.isfinite(value.value) else str(value.value)
    return json.dumps(value._replace(value=0.0)._asdict() | {"value": number}) + "\n"


def read_values(path: str | Path) -> list[Value]:
    """Everything below a folder, or in an archive such as output.tar.gz, in the order of its steps.

    Raises FileNotFoundError if there is nothing, and ValueError for a path on S3.
    """
    if str(path).startswith("s3:"):
        raise ValueError(f"{path} is on S3; download it first: aws s3 cp --recursive {path} values")
    path = Path(path)
    lines = list(_archived(path) if path.is_file() else _lines(path))
    if not lines:
        raise FileNotFoundError(f"{path} holds no values: no {PATTERN} in it or below it")
    return sorted((_parse(line) for line in lines), key=lambda value: value.global_step)


def _lines(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob(PATTERN)):
        yield from _whole(file.read_text(encoding="utf-8"))


def _archived(archive: Path) -> Iterator[str]:
    with tarfile.open(archive) as file:
        for member in file:
            content = file.extractfile(member) if Path(member.name).match(PATTERN) else None
            if content is not None:
                yield from _whole(content.read().decode("utf-8"))


def _whole(text: str) -> list[str]:
    """Without the last line of a process that was killed while it wrote."""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _parse(line: str) -> Value:
    entry: dict[str, Any] = json.loads(line)
    return Value(**entry | {"value": float(entry["value"])})
