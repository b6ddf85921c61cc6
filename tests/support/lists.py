"""Data sets of lists: files by name, found as a job finds them. Images may be empty files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.trees import touch

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.samples import DataOptions, Dataset, Sample


def lay_out(root: Path, images: tuple[str, ...], lists: Mapping[str, str]) -> Path:
    touch(root, *images)
    for name, content in lists.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8"))
    return root


def find(root: Path, **options: Any) -> Dataset:
    """Each folder below `root` is a channel."""
    channels = {path.name: path for path in sorted(root.iterdir())}
    return find_dataset(channels, DataOptions(**options))


def labels(samples: tuple[Sample, ...]) -> dict[str, int | tuple[int, ...] | None]:
    """The label or labels of each image, by its file name."""
    return {sample.image.name: sample.label if sample.labels is None else sample.labels for sample in samples}
