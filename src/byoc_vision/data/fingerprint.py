"""Which data a checkpoint was trained on, so that a job notices other data: names, sizes, labels and the split."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byoc_vision.data.samples import ByteRange, Dataset, DrawnMask, MaskSource, Sample, file_of
from byoc_vision.errors import InputError

UNKNOWN = -1  # the size of a file on another host

logger = logging.getLogger(__name__)

Rows = np.ndarray  # int64 [N, 2]: a hash of a sample's names and labels, and of its files' sizes


@dataclass(frozen=True)
class DataFingerprint:
    """The samples of all hosts, sorted: their order does not matter. `test` samples train nothing and are left out."""

    train: Rows
    validation: Rows

    @classmethod
    def of(cls, dataset: Dataset, folders: Mapping[str, Path], *, sizes: bool = True) -> DataFingerprint:
        """folders: of the channels, in which names count. sizes: whether all files are on this host."""
        roots = [(f"{path}{os.sep}", name) for name, path in folders.items()]
        return cls(*(_rows(samples, roots, sizes) for samples in (dataset.train, dataset.validation)))

    @classmethod
    def load(cls, state: Mapping[str, torch.Tensor]) -> DataFingerprint:
        return cls(state["train"].numpy(), state["validation"].numpy())

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"train": torch.from_numpy(self.train), "validation": torch.from_numpy(self.validation)}

    @property
    def all(self) -> Rows:
        return np.concatenate([self.train, self.validation])


@dataclass(frozen=True)
class DataChange:
    """From a checkpoint's data to a job's, in samples.

    gone: that the job lacks, or of which a file or label differs. learned: of the job's validation, that the
    checkpoint trained on. validation: whether the job validates on others.
    """

    added: int = 0
    gone: int = 0
    learned: int = 0
    validation: bool = False

    @classmethod
    def between(cls, old: DataFingerprint, new: DataFingerprint) -> DataChange:
        was, now = old.all, new.all
        return cls(
            added=int((~np.isin(now[:, 0], was[:, 0])).sum()),
            gone=int((~np.isin(was[:, 0], now[:, 0])).sum()) + _resized(was, now),
            learned=int(np.isin(new.validation[:, 0], old.train[:, 0]).sum()),
            validation=not np.array_equal(old.validation[:, 0], new.validation[:, 0]),
        )


def check_data(content: Mapping[str, Any], now: DataFingerprint | None) -> DataChange:
    """How the job's data differ from a checkpoint's; additions are logged.

    Raises InputError if samples of the checkpoint's are missing or have changed.
    """
    if now is None:
        return DataChange()
    if content.get("data") is None:
        logger.info("The checkpoint is of an older version and does not say which data it was trained on")
        return DataChange()
    old = DataFingerprint.load(content["data"])
    change = DataChange.between(old, now)
    if change.gone:
        raise InputError(
            f"the checkpoint was trained on other data: {change.gone:,} of its {len(old.all):,} training and "
            "validation samples are missing here, or have another size or label. Set resume=weights to start from the "
            "checkpoint's weights at epoch 1, resume=never to start from the beginning, or give another checkpoint "
            "folder (checkpoint_s3_uri)"
        )
    if change.added:
        logger.info("Changed since the checkpoint: %d samples were added", change.added)
    if change.learned:
        logger.warning(
            "%d validation images were training images when the checkpoint was written, so the metrics are too good; "
            "give a channel `validation`, or set resume=weights and train long enough",
            change.learned,
        )
    return change


def _resized(was: Rows, now: Rows) -> int:
    """How many of the old samples have files of another size."""
    sizes = dict(now.tolist())
    return sum(
        UNKNOWN not in (size, sizes[sample]) and size != sizes[sample]
        for sample, size in was.tolist()
        if sample in sizes
    )


def _rows(samples: Sequence[Sample], roots: Sequence[tuple[str, str]], sizes: bool) -> Rows:
    rows = [(_identity(sample, roots), _size(sample) if sizes else UNKNOWN) for sample in samples]
    return np.array(sorted(rows), np.int64).reshape(-1, 2)


def _identity(sample: Sample, roots: Sequence[tuple[str, str]]) -> int:
    files = [_name(file, roots) for file in (sample.image, sample.mask) if file is not None]
    labels = sample.labels if sample.labels is not None else sample.label
    digest = hashlib.blake2b(repr((files, labels)).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)


def _name(file: MaskSource, roots: Sequence[tuple[str, str]]) -> str:
    """With the channel's name in place of its folder, which may be another one when the job starts again."""
    path = str(file_of(file))
    inside = next((name + os.sep + path[len(root) :] for root, name in roots if path.startswith(root)), path)
    if isinstance(file, DrawnMask):
        return f"{inside}:{file.entry}"
    return f"{inside}:{file.offset}" if isinstance(file, ByteRange) else inside


def _size(sample: Sample) -> int:
    """One number for both files; `UNKNOWN` if one cannot be read: that error comes when it is."""
    try:
        sizes = [
            file.size if isinstance(file, ByteRange) else file_of(file).stat().st_size
            for file in (sample.image, sample.mask)
            if file is not None
        ]
    except OSError:
        return UNKNOWN
    return sizes[0] + sum(size << 31 for size in sizes[1:])
