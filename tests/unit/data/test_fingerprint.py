"""Which data a checkpoint is of, and what a job does that finds a checkpoint of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.fingerprint import DataChange, DataFingerprint, check_data
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.errors import InputError
from byoc_vision.types import ClassInfo

CLASSES = (ClassInfo(name="cat"), ClassInfo(name="dog"))


def dataset(root: Path, train: int = 6, validation: int = 3) -> Dataset:
    """Images of one byte more each."""
    splits = {}
    for split, count in {"train": train, "validation": validation}.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (root / split / f"{index}.jpg").write_bytes(bytes(index))
        splits[split] = tuple(Sample(root / split / f"{index}.jpg", label=index % 2) for index in range(count))
    return Dataset("classification", CLASSES, splits["train"], splits["validation"])


def fingerprint(data: Dataset, root: Path, *, sizes: bool = True) -> DataFingerprint:
    return DataFingerprint.of(data, {name: root / name for name in ("train", "validation")}, sizes=sizes)


def saved(of: DataFingerprint) -> dict[str, object]:
    return {"data": of.state_dict()}


def test_the_same_data_elsewhere_in_another_order_are_the_same(tmp_path: Path) -> None:
    here, there = dataset(tmp_path / "a"), dataset(tmp_path / "b")
    shuffled = replace(there, train=there.train[::-1])
    old, new = fingerprint(here, tmp_path / "a"), fingerprint(shuffled, tmp_path / "b")
    assert np.array_equal(old.all, new.all)
    assert check_data(saved(old), new) == DataChange()


@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 4))
def test_additions_are_counted(tmp_path_factory: pytest.TempPathFactory, count: int, more: int, validated: int) -> None:
    root = tmp_path_factory.mktemp("data")
    old = fingerprint(dataset(root, count, 2), root)
    new = fingerprint(dataset(root, count + more, 2 + validated), root)
    assert DataChange.between(old, new) == DataChange(added=more + validated, validation=bool(validated))


def relabelled(data: Dataset) -> Dataset:
    return replace(data, train=(replace(data.train[0], label=1), *data.train[1:]))


def without_one(data: Dataset) -> Dataset:
    return replace(data, train=data.train[1:])


def rewritten(data: Dataset) -> Dataset:
    Path(str(data.train[0].image)).write_bytes(b"another image")
    return data


@pytest.mark.parametrize("change", [relabelled, without_one, rewritten])
def test_other_data_are_refused(tmp_path: Path, change: object) -> None:
    data = dataset(tmp_path)
    old = fingerprint(data, tmp_path)
    new = fingerprint(change(data), tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"1 of its 9 .* resume=weights .* resume=never"):
        check_data(saved(old), new)


def test_training_images_that_are_validated_now_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = dataset(tmp_path)
    other = replace(data, train=(*data.train[2:], *data.validation), validation=data.train[:2])
    change = check_data(saved(fingerprint(data, tmp_path)), fingerprint(other, tmp_path))
    assert change == DataChange(learned=2, validation=True)
    assert "2 validation images were training images" in caplog.text


def test_sizes_that_one_host_does_not_know_are_not_compared(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    old = fingerprint(data, tmp_path)
    assert check_data(saved(old), fingerprint(rewritten(data), tmp_path, sizes=False)) == DataChange()


def test_a_checkpoint_of_an_older_version_is_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert check_data({}, fingerprint(dataset(tmp_path), tmp_path)) == DataChange()
    assert "does not say which data" in caplog.text
