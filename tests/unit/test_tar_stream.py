"""What `tarfile` would build, wait for or take for the end of a tar: it is refused, or read for what it is."""

from __future__ import annotations

import gzip
import re
import tarfile
from pathlib import Path

import pytest
from support.archives import make_tar, member, unpack

from byoc_vision.errors import DataError, UserError


def bare_header(name: str = "a.jpg", kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """A header as it stands in a tar, whatever it declares."""
    return member(name, kind, size=size).tobuf(tarfile.GNU_FORMAT)


def pax(**fields: str) -> bytes:
    """A member without content, with a header before it that says other things of it."""
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = fields
    return info.tobuf(tarfile.PAX_FORMAT)


END = bytes(2 * tarfile.BLOCKSIZE)


def refusal(folder: Path, content: bytes, compress: bool = True) -> str:
    archive = folder / ("a.tar.gz" if compress else "a.tar")
    archive.write_bytes(gzip.compress(content, 1) if compress else content)
    with pytest.raises(UserError) as refused:
        unpack(archive)
    assert str(archive) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_metadata_of_gigabytes(kind: bytes, tmp_path: Path) -> None:
    content = bare_header(kind=kind, size=2**33) + bytes(2**22)
    assert "a header declares 8,589,934,592 bytes" in refusal(tmp_path, content)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.CONTTYPE, b"Z"])
@pytest.mark.parametrize("name", ["a.jpg", ".DS_Store"])
def test_sizes_beyond_any_disk(kind: bytes, name: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, bare_header(name, kind, size=2**60) + END)
    assert "members declare 1,152,921,504,606,846,976 bytes" in message


@pytest.mark.parametrize(
    ("size", "said"), [("-5", "it declares -5 bytes"), ("99999999999999", "has [0-9,]+ bytes free")]
)
def test_sizes_of_extended_headers(size: str, said: str, tmp_path: Path) -> None:
    assert re.search(said, refusal(tmp_path, pax(size=size) + END))


@pytest.mark.parametrize(
    "fields", [{"mtime": "nan"}, {"size": "abc"}, {"uid": "x" * 100}, {"SCHILY.xattr.a": "b" * 60_000}]
)
def test_what_does_not_matter_is_not_read(fields: dict[str, str], tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(pax(**fields) + END)
    assert unpack(archive) == {"a.jpg": b""}


def test_headers_before_headers(tmp_path: Path) -> None:
    header = bare_header(kind=tarfile.XHDTYPE)
    assert "cannot be unpacked" in refusal(tmp_path, header * 10_000 + END)


def test_files_with_holes(tmp_path: Path) -> None:
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5", "GNU.sparse.name": "a"}
    sparse = pax(**fields)[: -tarfile.BLOCKSIZE] + bare_header(size=tarfile.BLOCKSIZE)
    assert "a file with holes" in refusal(tmp_path, sparse + b"1\n0\n5\n".ljust(tarfile.BLOCKSIZE, b"\0") + END)
    bomb = b"9" * 9 + b"\n" + b"1\n" * 2**21
    assert "a header declares 512 bytes" in refusal(tmp_path / "out", sparse + bomb)


@pytest.mark.parametrize("name", ["d/" * 600 + "x", "a" * 5000, "a" * 300, "a\0b", "\n".join(["a"] * 600)])
def test_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(member(name))
    if "\0" in name:  # tarfile ends a name there
        assert unpack(archive) == {"a": b""}
        return
    with pytest.raises(DataError, match=r"has a name (of|that)") as refused:
        unpack(archive)
    assert len(str(refused.value)) < 600
    assert "\n" not in str(refused.value)


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "good.tar", {"1.jpg": b"1", "2.jpg": b"2"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"2.jpg")] ^= 1
    assert "the header of a member is damaged" in refusal(tmp_path, bytes(content), compress=False)


@pytest.mark.parametrize("rest", [b"x", bare_header("hidden.jpg"), bytes(2**20) + b"x", bytes(2**25)])
def test_what_follows_the_end(rest: bytes, tmp_path: Path) -> None:
    assert "it goes on after its end" in refusal(tmp_path, bare_header() + END + rest)


def test_an_archive_without_an_end(tmp_path: Path) -> None:
    assert "the end of the archive is missing" in refusal(tmp_path, bare_header())
