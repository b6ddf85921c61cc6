"""Streams that become folders: real named pipes, written by a thread as SageMaker writes them."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.data import pipe_mode
from byoc_vision.data.recordio import index_records, write_record
from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.job import Job
from byoc_vision.paths import MlPaths

WRAPPED = {"TrainingInputMode": "Pipe", "RecordWrapperType": "RecordIO"}
RAW = {"TrainingInputMode": "Pipe", "ContentType": "application/x-recordio"}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlPaths:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    paths = MlPaths(tmp_path / "ml")
    paths.channels.mkdir(parents=True)
    paths.input_data_config.parent.mkdir(parents=True)
    return paths


def records(*contents: bytes) -> bytes:
    file = io.BytesIO()
    for content in contents:
        write_record(file, content)
    return file.getvalue()


def declare(paths: MlPaths, hosts: int = 1, **channels: dict[str, Any]) -> Job:
    paths.input_data_config.write_text(json.dumps(channels))
    names = [f"algo-{number}" for number in range(1, hosts + 1)]
    paths.resource_config.write_text(json.dumps({"hosts": names, "current_host": names[0]}))
    return Job.load(paths)


def write_pipe(path: Path, content: bytes) -> threading.Thread:
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    return writer


def test_a_pipe_becomes_a_folder_that_every_process_finds(paths: MlPaths) -> None:
    content = records(b"picture", b"3", b"x" * 300_000, b"4")
    job = declare(paths, train=WRAPPED)
    writer = write_pipe(paths.pipe("train", 0), content)
    with pipe_mode.copied_to_disk(job) as local:
        writer.join()
        folder = local.channels["train"].path
        assert [path.name for path in folder.iterdir()] == ["train_0.records"]
        assert (folder / "train_0.records").read_bytes() == content
        assert len(index_records(folder / "train_0.records")) == 4
        assert pipe_mode.with_copies(job) == local
    assert not folder.exists()
    assert pipe_mode.with_copies(job) == job


def test_a_pipe_of_recordio_files(paths: MlPaths) -> None:
    job = declare(paths, train=RAW)
    writer = write_pipe(paths.pipe("train", 0), records(b"1"))
    with pipe_mode.copied_to_disk(job) as local:
        writer.join()
        assert [path.name for path in local.channels["train"].path.iterdir()] == ["train_0.rec"]


@pytest.mark.parametrize("removed", [1, 9, 19])
def test_a_pipe_that_closes_within_a_record(paths: MlPaths, removed: int) -> None:
    job = declare(paths, train=WRAPPED)
    writer = write_pipe(paths.pipe("train", 0), records(b"picture", b"a longer one")[:-removed])
    with pytest.raises(DataError, match=r"the pipe of the channel train, record 2 is cut off: .*; check that all obj"):
        pipe_mode.copy_to_disk(job)
    writer.join()


def test_a_pipe_of_images_without_records(paths: MlPaths) -> None:
    writer = write_pipe(paths.pipe("train", 0), b"\xff\xd8\xff\xe0 an image")
    with pytest.raises(DataError, match="channel train, record 1 does not begin like a RecordIO record"):
        pipe_mode.copy_to_disk(declare(paths, train=WRAPPED))
    writer.join()
    with pytest.raises(
        InputError, match=r"the channel train comes through a pipe.*FastFile.*RecordWrapperType=RecordIO"
    ):
        pipe_mode.copy_to_disk(declare(paths, train={"TrainingInputMode": "Pipe", "ContentType": "image/jpeg"}))


def test_an_empty_pipe(paths: MlPaths) -> None:
    writer = write_pipe(paths.pipe("train", 0), b"")
    with pytest.raises(
        DataError, match="pipe of the channel train closed without a record; check what the channel's S3Uri"
    ):
        pipe_mode.copy_to_disk(declare(paths, train=WRAPPED))
    writer.join()


@pytest.mark.parametrize("exists", [True, False])
def test_a_pipe_without_a_writer(paths: MlPaths, exists: bool) -> None:
    job = declare(paths, train=WRAPPED)
    if exists:
        os.mkfifo(paths.pipe("train", 0))
    with pytest.raises(ResourceError, match=r"train_0: nothing came through the pipe of the channel train for 0 s"):
        pipe_mode.copy_to_disk(job, silent_s=0.01)


def test_a_writer_that_falls_silent(paths: MlPaths) -> None:
    job = declare(paths, train=WRAPPED)
    pipe = paths.pipe("train", 0)
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # stays open, and writes no more
    try:
        os.write(writer, records(b"picture", b"3"))
        with pytest.raises(ResourceError, match="nothing came through the pipe of the channel train for 0 s"):
            pipe_mode.copy_to_disk(job, silent_s=0.05)
    finally:
        os.close(writer)


def test_hosts_can_compare_what_they_got(paths: MlPaths) -> None:
    job = declare(paths, hosts=2, train=WRAPPED)
    found = []
    for content in (records(b"picture", b"3"), records(b"picture", b"3"), records(b"picture", b"4")):
        writer = write_pipe(paths.pipe("train", 0), content)
        with pipe_mode.copied_to_disk(job) as local:
            writer.join()
            found.append(pipe_mode.content_hashes(local))
        paths.pipe("train", 0).unlink()
    assert found[0] == found[1] != found[2]
    assert pipe_mode.content_hashes(job) == {}


def test_a_single_host_compares_nothing(paths: MlPaths) -> None:
    job = declare(paths, train=WRAPPED)
    writer = write_pipe(paths.pipe("train", 0), records(b"picture", b"3"))
    with pipe_mode.copied_to_disk(job) as local:
        writer.join()
        assert pipe_mode.content_hashes(local) == {}


def test_hosts_are_compared_channel_by_channel() -> None:
    """The second process of each host reads what the first has copied, and has no hash of its own."""
    hosts = [{"train": "a", "validation": "b"}, {}, {"train": "c", "validation": "b"}, {}]
    assert pipe_mode.differing_channels(hosts) == ["train"]
    assert pipe_mode.differing_channels([{"train": "a"}, {}, {"train": "a"}]) == []


def test_hosts_that_get_different_records(paths: MlPaths) -> None:
    job = declare(paths, hosts=2, train=WRAPPED | {"S3DistributionType": "ShardedByS3Key"})
    with pytest.raises(InputError, match=r"of train is ShardedByS3Key, so each of the 2 hosts.*use FullyReplicated"):
        pipe_mode.copy_to_disk(job)


def test_recordio_files_are_copied_from_fast_file_and_stay_in_file_mode(paths: MlPaths) -> None:
    for name in ("train", "validation", "images"):
        paths.channel(name).mkdir()
    for name in ("train", "validation"):
        (paths.channel(name) / f"{name}.rec").write_bytes(records(b"one", b"two"))
        (paths.channel(name) / f"{name}.idx").write_text("0\t0\n")
    (paths.channel("images") / "1.jpg").touch()
    fast = {"TrainingInputMode": "FastFile"}
    job = declare(paths, train=fast, validation={"TrainingInputMode": "File"}, images=fast)
    with pipe_mode.copied_to_disk(job) as local:
        assert local.folders["train"] != paths.channel("train")
        assert [path.name for path in local.folders["train"].iterdir()] == ["train.rec"]
        assert local.folders["validation"] == paths.channel("validation")
        assert local.folders["images"] == paths.channel("images")
    (paths.channel("train") / "train.rec").write_bytes(records(b"one")[:-1])
    with pytest.raises(DataError, match=r"train\.rec, record 1 is cut off: .*copy the file again"):
        pipe_mode.copy_to_disk(job)


def test_a_disk_that_cannot_be_written(paths: MlPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    job = declare(paths, train=WRAPPED)
    os.mkfifo(paths.pipe("train", 0))
    pipe_mode.copies_folder(paths).write_text("a file where the folder should be")
    with pytest.raises(ResourceError, match=r"train_0\.records cannot be written"):
        pipe_mode.copy_to_disk(job)
