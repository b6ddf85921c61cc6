"""Checkpoints on disk: whole, or passed over by name."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.disks import files_of_at_most
from support.modes import folder_for_all, mode, umask, without_root

from byoc_vision.errors import InputError, ResourceError
from byoc_vision.training.checkpoint_file import CheckpointStore


def content(step: int, size: int = 4) -> dict[str, object]:
    return {"step": step, "model": {"w": torch.full((size,), float(step))}}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.prepare()
    return store


def write(store: CheckpointStore, count: int, best: int | None = None) -> None:
    for step in range(1, count + 1):
        best = store.write(content(step), {"epoch": step} if step in (1, 3) else None, best)


def test_the_last_ones_and_their_best_model_stay(store: CheckpointStore) -> None:
    write(store, 5)
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "best-00000003.safetensors",
        "checkpoint-00000004.safetensors",
        "checkpoint-00000005.safetensors",
    ]
    newest = store.newest()
    assert newest is not None
    assert newest["step"] == 5
    assert newest["model"]["w"].tolist() == [5.0] * 4
    assert newest["best"] == {"epoch": 3}


def test_their_modes_are_those_that_the_umask_gives(store: CheckpointStore) -> None:
    with umask(0o027):
        write(store, 1)
    assert {path.name: mode(path) for path in store.folder.iterdir()} == {
        "best-00000001.safetensors": 0o640,
        "checkpoint-00000001.safetensors": 0o640,
    }


def test_one_that_may_not_be_read_is_passed_over_with_that_reason(caplog: pytest.LogCaptureFixture) -> None:
    with folder_for_all() as folder:
        store = CheckpointStore(folder)
        write(store, 1)
        store.path(1).chmod(0)
        with without_root(), caplog.at_level(logging.WARNING):
            assert store.newest() is None
    assert "Permission denied" in caplog.text


def test_an_empty_folder_has_none(store: CheckpointStore, tmp_path: Path) -> None:
    assert store.newest() is None
    assert CheckpointStore(tmp_path / "nowhere").newest() is None


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "without its best model"])
def test_a_torn_one_is_named_and_passed_over(
    store: CheckpointStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, 3)
    path = store.path(3)
    data = bytearray(path.read_bytes())
    match damage:
        case "cut":
            path.write_bytes(data[:-3])
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            data[-1] ^= 1
            path.write_bytes(data)
        case "without its best model":
            store.path(3, "best").unlink()
    with caplog.at_level(logging.WARNING):
        newest = store.newest()
    assert newest is not None
    assert newest["step"] == 2
    assert "is not whole and is passed over" in caplog.text
    assert "-00000003.safetensors" in caplog.text


def foreign(path: Path, kind: str) -> None:
    """Make something that has the name of a checkpoint."""
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(b"\xff\0\0\0\0\0\0\0{")
        case "other weights":
            save_file({"w": torch.zeros(1)}, path)
        case "nested too deeply":
            metadata = {"byoc_vision_checkpoint": "1", "content": "[" * 100_000, "checksum": "0"}
            save_file({}, path, metadata)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link to itself":
            path.symlink_to(path)


@pytest.mark.parametrize(
    "kind", ["empty", "truncated", "other weights", "nested too deeply", "folder", "pipe", "link to itself"]
)
@pytest.mark.parametrize(
    "name", ["checkpoint-99999999.safetensors", "best-99999999.safetensors", "checkpoint-00000003.safetensors"]
)
def test_a_foreign_file_is_left_alone_and_does_not_count(store: CheckpointStore, kind: str, name: str) -> None:
    write(store, 2)
    foreign(store.folder / name, kind)
    for step in (3, 4):
        store.write(content(step), None, 1)
    newest = store.newest()
    assert newest is not None
    assert newest["step"] == 4
    assert newest["best"] == {"epoch": 1}
    assert len(store.whole()) == 2
    assert os.path.lexists(store.folder / name)


def test_numbers_of_more_than_eight_digits_are_found_again(store: CheckpointStore) -> None:
    write(store, 1)
    store.path(1).rename(store.path(99_999_999))
    store.write(content(2), None, 1)
    newest = store.newest()
    assert newest is not None
    assert newest["step"] == 2


def test_other_names_are_left_alone(store: CheckpointStore) -> None:
    names = {"notes.writing", "checkpoint-1.safetensors", "checkpoint-00000001.safetensors.bak", "mlflow.json"}
    for name in names:
        (store.folder / name).write_text("mine")
    (store.folder / ".checkpoint-00000001.safetensors.writing").mkdir()
    store.prepare()
    write(store, 3)
    assert names <= {path.name for path in store.folder.iterdir()}
    assert store.whole() == [3, 4]


def test_another_format_is_refused_with_the_way_out(store: CheckpointStore) -> None:
    save_file({}, store.path(1), {"byoc_vision_checkpoint": "99"})
    with pytest.raises(InputError, match=r"has the format 99; this image reads 1.*resume=never"):
        store.newest()


def test_what_an_interrupted_write_left_is_removed(store: CheckpointStore) -> None:
    (store.folder / ".checkpoint-00000001.safetensors.writing").write_bytes(b"half")
    assert store.newest() is None
    store.prepare()
    assert list(store.folder.iterdir()) == []


def test_no_pickle(store: CheckpointStore) -> None:
    store.write(content(1), None, None)
    with safe_open(store.path(1), "pt") as file:
        assert list(file.keys()) == ["model.w"]
        json.loads(file.metadata()["content"])


def test_a_folder_that_cannot_be_written_is_named_at_the_start(tmp_path: Path) -> None:
    """Root may write everywhere but into the kernel's own folders."""
    (tmp_path / "checkpoints").symlink_to("/proc/self/fdinfo")
    with pytest.raises(ResourceError, match=r"checkpoints: checkpoints cannot be written there .*checkpoint_keep=0"):
        CheckpointStore(tmp_path / "checkpoints").prepare()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may exceed 64 KiB: writing more fails as on a full disk."""
    with files_of_at_most(2**16):
        yield


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_the_last_good_checkpoint(store: CheckpointStore) -> None:
    store.write(content(1), None, None)
    with pytest.raises(ResourceError, match=r"could not be written .* bytes are needed, .* The one before is intact"):
        store.write(content(2, size=2**20), None, None)
    assert [path.name for path in store.folder.iterdir()] == ["checkpoint-00000001.safetensors"]
    newest = store.newest()
    assert newest is not None
    assert newest["step"] == 1
