"""Channels that are streams: copied to the local disk while a job trains.

In Pipe mode SageMaker gives a named pipe, `CHANNEL_0`, and a new one for each epoch. The first is read once, into a
file, which all epochs then read. RecordIO files in FastFile mode are copied as well: images are read from them in
random order, and FastFile is fast only from beginning to end.

Several hosts: each copies its own pipe to the same path, and finds a sample by its offset in that file. So every host
must get the same bytes: S3DataDistributionType FullyReplicated, and no ShuffleConfig.

Source: "Access Training Data" and "Provide Dataset Metadata to Training Jobs with an Augmented Manifest File" in the
SageMaker developer guide; Channel in its API reference.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import select
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from byoc_vision.data.recordio import RECORDIO_SUFFIX, RECORDS_SUFFIX, CopySource, read_records
from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.job import Channel, Job
from byoc_vision.paths import MlPaths

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

logger = logging.getLogger(__name__)

# SageMaker opens its end when it has found the first object; a long manifest takes a while.
LONGEST_SILENCE_S = 600.0
_LOOK_EVERY_S = 0.1
_PROGRESS_EVERY_S = 30.0
_RECORDIO_CONTENT = "application/x-recordio"


def copies_folder(paths: MlPaths) -> Path:
    """Where a job's streams are copied to: the same for each process of a host, and on each host of a job."""
    job = hashlib.sha256(str(paths.root).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"byoc-vision-{os.getuid()}-{job}"


@contextmanager
def copied_to_disk(job: Job, silent_s: float = LONGEST_SILENCE_S) -> Iterator[Job]:
    """The job with folders in place of its streams, for as long as the context lasts."""
    try:
        yield copy_to_disk(job, silent_s)
    finally:
        shutil.rmtree(copies_folder(job.paths), ignore_errors=True)


def copy_to_disk(job: Job, silent_s: float = LONGEST_SILENCE_S) -> Job:
    """Read every stream of the job to its end, once per host.

    Returns:
        The job with folders in place of the streams.

    Raises:
        InputError: a stream is not RecordIO.
        DataError: a stream breaks off or is empty.
        ResourceError: the disk is full, or nothing arrives for `silent_s` seconds.
    """
    streams = _streams(job)
    _refuse_shards(streams, job)
    folder = copies_folder(job.paths)
    shutil.rmtree(folder, ignore_errors=True)
    for channel in streams:
        if channel.input_mode == "Pipe":
            _require_records(channel)
            _copy_pipe(channel, _place(folder, channel), silent_s)
        else:
            _copy_records(channel, _place(folder, channel))
    return with_copies(job)


def with_copies(job: Job) -> Job:
    """The job with folders in place of the streams that another process of this host has copied."""
    folder = copies_folder(job.paths)
    places = {name: _place(folder, channel) for name, channel in job.channels.items()}
    return replace(
        job,
        channels={
            name: replace(channel, path=places[name]) if places[name].is_dir() else channel
            for name, channel in job.channels.items()
        },
    )


def content_hashes(job: Job) -> dict[str, str]:
    """A hash of what each of this host's streams contained, by channel, to compare with the other hosts.

    Empty for a job with a single host, which has nothing to compare.
    """
    if len(job.hosts) == 1:
        return {}
    found = {}
    for name, channel in job.channels.items():
        if channel.path.parent == copies_folder(job.paths):
            contents = b"".join(_content_hash(path) for path in sorted(channel.path.iterdir()))
            found[name] = hashlib.blake2b(contents).hexdigest()[:16]
    return found


def _content_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).digest()


def differing_channels(found: Sequence[Mapping[str, str]]) -> list[str]:
    """The channels whose hashes differ between hosts. found: of each process; only one per host has hashes."""
    seen: dict[str, set[str]] = {}
    for of_host in found:
        for name, digest in of_host.items():
            seen.setdefault(name, set()).add(digest)
    return [name for name, digests_of_it in seen.items() if len(digests_of_it) > 1]


def _place(folder: Path, channel: Channel) -> Path:
    return folder / channel.name


def _streams(job: Job) -> list[Channel]:
    return [
        channel
        for channel in job.channels.values()
        if channel.input_mode == "Pipe"
        or (channel.input_mode == "FastFile" and channel.path.is_dir() and _holds_records(channel))
    ]


def _holds_records(channel: Channel) -> bool:
    """Whether a folder holds RecordIO files. Lists as few entries as possible: FastFile lists slowly."""
    if channel.content_type == _RECORDIO_CONTENT:
        return True
    with os.scandir(channel.path) as entries:
        others = (entry for entry in entries if not entry.name.lower().endswith((".idx", ".lst")))
        first = next((entry for entry in others if not entry.name.startswith(".")), None)
    return first is not None and first.name.lower().endswith(RECORDIO_SUFFIX)


def _copy_records(channel: Channel, folder: Path) -> None:
    files = sorted(path for path in channel.path.iterdir() if path.name.lower().endswith(RECORDIO_SUFFIX))
    if not files:
        return
    for path in files:
        with path.open("rb") as stream:
            count = _keep(stream, folder / path.name, path.name, "copy the file again, or make it again with im2rec")
        logger.info("%s: copied %d records to the local disk", path, count)


def _refuse_shards(streams: list[Channel], job: Job) -> None:
    sharded = [channel.name for channel in streams if channel.s3_distribution == "ShardedByS3Key"]
    if sharded and len(job.hosts) > 1:
        raise InputError(
            f"S3DataDistributionType of {', '.join(sharded)} is ShardedByS3Key, so each of the {len(job.hosts)} hosts "
            "gets different records; every host needs all of them: use FullyReplicated"
        )


def _require_records(channel: Channel) -> None:
    if channel.record_wrapper == "RecordIO" or channel.content_type == _RECORDIO_CONTENT:
        return
    raise InputError(
        f"the channel {channel.name} comes through a pipe, which does not separate its images; use "
        "FastFile, which streams as well, or RecordIO: RecordWrapperType=RecordIO with an augmented manifest and "
        f"AttributeNames, or ContentType={_RECORDIO_CONTENT} with .rec files"
    )


def _copy_pipe(channel: Channel, folder: Path, silent_s: float) -> None:
    name = f"the pipe of the channel {channel.name}"
    ending = RECORDS_SUFFIX if channel.record_wrapper == "RecordIO" else RECORDIO_SUFFIX
    remedy = "check that all objects of the channel can be read, and start the job again"
    with _opened(channel, silent_s) as stream:
        count = _keep(stream, folder / f"{channel.path.name}{ending}", name, remedy)
    if not count:
        raise DataError(f"{name} closed without a record; check what the channel's S3Uri holds")
    logger.info("%s: copied %d records to the local disk", name, count)


def _keep(stream: BinaryIO, target: Path, name: str, remedy: str) -> int:
    """Copy a stream of records and check its framing. Returns the number of records."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = target.open("wb")
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror or error}; is there a local disk?") from error
    count, last_logged = 0, time.monotonic()
    with file:
        for record in read_records(CopySource(stream, file), name, remedy):
            count = record.number
            if time.monotonic() - last_logged > _PROGRESS_EVERY_S:
                last_logged = time.monotonic()
                logger.info("%s: %d records so far, %d MB", name, count, (record.offset + record.size) // 1_000_000)
    return count


@contextmanager
def _opened(channel: Channel, silent_s: float) -> Iterator[BinaryIO]:
    """A channel's pipe. Reading it raises ResourceError if nothing arrives for `silent_s` seconds."""
    complaint = ResourceError(
        f"{channel.path}: nothing came through the pipe of the channel {channel.name} for {silent_s:.0f} s; check "
        "that its S3Uri holds data and that the job's role may read it"
    )
    deadline = time.monotonic() + silent_s
    while not channel.path.exists():
        if time.monotonic() > deadline:
            raise complaint
        time.sleep(_LOOK_EVERY_S)
    # A plain open would wait forever for a writer.
    descriptor = os.open(channel.path, os.O_RDONLY | os.O_NONBLOCK)
    with _Pipe(descriptor, silent_s, complaint) as pipe, io.BufferedReader(pipe, 2**20) as stream:
        yield stream


class _Pipe(io.RawIOBase):
    """The reading end of a pipe, with a timeout."""

    def __init__(self, descriptor: int, silent_s: float, complaint: ResourceError) -> None:
        self._descriptor = descriptor
        self._silent_s = silent_s
        self._complaint = complaint

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not select.select([self._descriptor], [], [], self._silent_s)[0]:
            raise self._complaint
        return os.readv(self._descriptor, [buffer])

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
