"""Folders of files whose names are all that matters, and the datasets that are found in folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.samples import DataOptions, Dataset, Sample


def touch(root: Path, *names: str) -> Path:
    """Empty files below `root`, with the folders they need."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def dataset_of(folder: Path, **options: Any) -> Dataset:
    """The dataset of a folder that is the only channel. options: those of DataOptions."""
    return find_dataset({"train": folder}, DataOptions(**options))


def dataset_of_channels(root: Path, **options: Any) -> Dataset:
    """The dataset of channels: the folders below `root`. options: those of DataOptions."""
    return find_dataset({path.name: path for path in sorted(root.iterdir())}, DataOptions(**options))


def image_mask_paths(samples: Sequence[Sample], root: Path) -> list[tuple[str, str]]:
    """The paths of each image and its mask, relative to `root`."""
    return [(str(s.image.relative_to(root)), str(s.mask.relative_to(root))) for s in samples if s.mask]


def lay_out(root: Path, images: tuple[str, ...], lists: Mapping[str, str]) -> Path:
    """Empty files as `images`, and text files: name → content."""
    touch(root, *images)
    for name, content in lists.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8"))
    return root


def labels(samples: Sequence[Sample]) -> dict[str, int | tuple[int, ...] | None]:
    """The label or labels of each image, by its file name."""
    return {sample.image.name: sample.label if sample.labels is None else sample.labels for sample in samples}
