"""RecordIO against its specification: bytes that MXNet's own writer would make, and any content there and back."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc_vision.data.recordio import (
    MAGIC,
    CopySource,
    index_records,
    pack,
    read_first,
    read_records,
    unpack,
    write_record,
)
from byoc_vision.errors import DataError, ResourceError

MAGIC_BYTES = struct.pack("<I", MAGIC)
contents = st.lists(st.sampled_from([b"", b"a", b"bcd", b"1234", b"\xff\xd8\xff\xe0", MAGIC_BYTES]), max_size=12).map(
    b"".join
)


def write(path: Path, *records: bytes) -> Path:
    with path.open("wb") as file:
        for record in records:
            write_record(file, record)
    return path


@settings(deadline=None)
@given(records=st.lists(contents, min_size=1, max_size=5))
def test_any_content_comes_back(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    path = write(tmp_path_factory.mktemp("records") / "a.rec", *records)
    assert [record.byte_range(path).read_bytes() for record in index_records(path)] == records


@settings(deadline=None)
@given(labels=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4), image=contents)
def test_labels_and_image_come_back(
    tmp_path_factory: pytest.TempPathFactory, labels: list[float], image: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("records") / "a.rec", b"before", pack(tuple(labels), image))
    unpacked = unpack(index_records(path)[1], path)
    assert unpacked.labels == tuple(labels)
    assert unpacked.image.read_bytes() == image
    assert read_first(unpacked.image, 3) == image[:3]


def test_the_framing_is_mxnets(tmp_path: Path) -> None:
    """A record of 5 bytes, and one that is cut at the magic number: dmlc-core writes the parts with flags 1 and 3."""
    expected = (
        MAGIC_BYTES + struct.pack("<I", 5) + b"hello\0\0\0"
        + MAGIC_BYTES + struct.pack("<I", 1 << 29 | 4) + b"1234"
        + MAGIC_BYTES + struct.pack("<I", 3 << 29 | 2) + b"56\0\0"
    )  # fmt: skip
    assert write(tmp_path / "a.rec", b"hello", b"1234" + MAGIC_BYTES + b"56").read_bytes() == expected


def test_the_header_is_im2recs(tmp_path: Path) -> None:
    assert pack((3.0,), b"JPEG", number=7) == struct.pack("<IfQQ", 0, 3.0, 7, 0) + b"JPEG"
    assert pack((0.0, 1.0), b"JPEG") == struct.pack("<IfQQ2f", 2, 0.0, 0, 0, 0.0, 1.0) + b"JPEG"


@pytest.mark.parametrize("removed", [1, 8, 11, 12])
def test_a_file_that_is_cut_off(tmp_path: Path, removed: int) -> None:
    path = write(tmp_path / "train.rec", b"first", b"second")
    path.write_bytes(path.read_bytes()[:-removed])
    with pytest.raises(DataError, match=r"train\.rec, record 2 is cut off: .*; copy the file again, or make it again"):
        index_records(path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    path.write_bytes(b"PK\3\4 and so on")
    with pytest.raises(DataError, match=r"train\.rec, record 1 does not begin like a RecordIO record.*im2rec"):
        index_records(path)


def test_a_part_out_of_order(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    path.write_bytes(MAGIC_BYTES + struct.pack("<I", 3 << 29 | 4) + b"1234")
    with pytest.raises(DataError, match=r"train\.rec, record 1 has a part out of order \(flag 3\)"):
        index_records(path)


def test_an_empty_file_and_none(tmp_path: Path) -> None:
    (tmp_path / "train.rec").touch()
    with pytest.raises(DataError, match=r"train\.rec holds no records; copy the file again"):
        index_records(tmp_path / "train.rec")
    with pytest.raises(DataError, match=r"gone\.rec cannot be read: No such file"):
        index_records(tmp_path / "gone.rec")


@pytest.mark.parametrize("content", [b"short", struct.pack("<IfQQ", 9, 0, 0, 0), struct.pack("<IfQQ", 2**31, 0, 0, 0)])
def test_records_without_im2recs_header(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "train.rec", content)
    with pytest.raises(DataError, match=r"train\.rec, record 1 .*; make the file with im2rec"):
        unpack(index_records(path)[0], path)


@settings(deadline=None)
@given(content=st.binary(max_size=64))
def test_arbitrary_bytes_are_answered_with_a_data_error_alone(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("records") / "a.rec"
    path.write_bytes(content)
    with suppress(DataError):
        for record in index_records(path):
            unpack(record, path)


def test_a_stream_is_copied_while_it_is_checked(tmp_path: Path) -> None:
    original = write(tmp_path / "a.rec", b"x" * 3_000_000, b"1234" + MAGIC_BYTES + b"5")
    with original.open("rb") as stream, (tmp_path / "b.rec").open("wb") as copy:
        copied = list(read_records(CopySource(stream, copy), "train_0", "fix it"))
    assert copied == index_records(original)
    assert (tmp_path / "b.rec").read_bytes() == original.read_bytes()


def test_a_full_disk_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Linux's /dev/full is a disk without room."""
    original = write(tmp_path / "a.rec", b"x" * 100_000)
    with (
        original.open("rb") as stream,
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(ResourceError, match=r"No space left on device.*volume_size_in_gb"),
    ):
        list(read_records(CopySource(stream, full), "train_0", "fix it"))


def test_a_record_that_is_too_long_is_not_written() -> None:
    class Long(bytes):
        def __len__(self) -> int:
            return 2**29

    with pytest.raises(ValueError, match="a record holds at most 536,870,911 bytes"):
        write_record(io.BytesIO(), Long())
