"""What unpacks, what is refused, and that nothing is ever written outside the folder."""

from __future__ import annotations

import contextlib
import shutil
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archives import TAR_MODES, contents, make, make_tar, make_zip, member, unpack
from support.disks import files_of_at_most

from byoc_vision.archives import ARCHIVE_SUFFIXES, MODELS, Rules, Unpacker, is_archive, unpacked
from byoc_vision.errors import DataError, ResourceError, UserError

FILES = {"images/cat.jpg": b"cat" * 1000, "images/deep/er/dog.jpg": b"dog" * 70_000, "list.txt": b"", "ä ü.txt": b"x"}


class TestUnpacking:
    @pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
    def test_every_kind(self, suffix: str, tmp_path: Path) -> None:
        assert unpack(make(tmp_path / f"data{suffix}", FILES)) == FILES

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    def test_the_content_tells_the_kind(self, suffix: str, tmp_path: Path) -> None:
        archive = make(tmp_path / f"data{suffix}", FILES).rename(tmp_path / "download")
        assert unpack(archive) == FILES

    @pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
    def test_progress_comes_to_the_size_of_the_archive(self, suffix: str, tmp_path: Path) -> None:
        archive = make(tmp_path / f"data{suffix}", FILES)
        steps: list[int] = []
        (tmp_path / "out").mkdir()
        Unpacker(tmp_path / "out").unpack(archive, steps.append)
        if suffix == ".zip":  # without its list of members
            assert sum(steps) == sum(entry.compress_size for entry in zipfile.ZipFile(archive).infolist())
        else:
            assert sum(steps) == archive.stat().st_size

    def test_two_archives_into_one_folder(self, tmp_path: Path) -> None:
        unpacker = Unpacker(tmp_path / "out")
        (tmp_path / "out").mkdir()
        unpacker.unpack(make_zip(tmp_path / "a.zip", {"images/1.jpg": b"1"}), lambda _: None)
        unpacker.unpack(make_tar(tmp_path / "b.tar.gz", {"images/2.jpg": b"2"}), lambda _: None)
        assert contents(tmp_path / "out") == {"images/1.jpg": b"1", "images/2.jpg": b"2"}
        with pytest.raises(DataError, match=r"c\.zip is not unpacked:\n.*images/1\.jpg is there twice"):
            unpacker.unpack(make_zip(tmp_path / "c.zip", {"images/1.jpg": b"3"}), lambda _: None)

    def test_clutter_stays_behind(self, tmp_path: Path) -> None:
        clutter = {"__MACOSX/._a.jpg": b"", "images/.DS_Store": b"", "images/._cat.jpg": b"", "Thumbs.db": b""}
        assert unpack(make_zip(tmp_path / "a.zip", FILES | clutter)) == FILES

    def test_windows_paths(self, tmp_path: Path) -> None:
        assert unpack(make_zip(tmp_path / "a.zip", {r"images\cat\1.jpg": b"1"})) == {"images/cat/1.jpg": b"1"}

    @pytest.mark.parametrize(
        ("kind", "target"), [(tarfile.LNKTYPE, "images/cat.jpg"), (tarfile.SYMTYPE, "../images/./cat.jpg")]
    )
    def test_links_within_become_files(self, kind: bytes, target: str, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar", FILES, member("other/copy.jpg", kind, target))
        assert unpack(archive) == FILES | {"other/copy.jpg": FILES["images/cat.jpg"]}
        assert not any(path.is_symlink() for path in tmp_path.rglob("*"))

    def test_names(self) -> None:
        assert all(is_archive(f"x{suffix.upper()}") for suffix in ARCHIVE_SUFFIXES)
        assert not is_archive("labels.csv.gz")


class TestRefusals:
    """The archive and the member are named, and nothing lies outside the folder."""

    def refusal(self, archive: Path) -> str:
        outside = set(tmp.name for tmp in archive.parent.iterdir())
        with pytest.raises(UserError) as refused:
            unpack(archive)
        assert {tmp.name for tmp in archive.parent.iterdir()} == outside | {"out"}
        assert {tmp.name for tmp in (archive.parent / "out").iterdir()} == {"in"}
        assert str(archive) in str(refused.value)
        shutil.rmtree(archive.parent / "out")
        return str(refused.value)

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    @pytest.mark.parametrize(
        "name", ["../evil", "images/../../evil", "/tmp/evil", r"..\evil", r"C:\evil", "images/../cat", ".."]
    )
    def test_paths_that_leave(self, suffix: str, name: str, tmp_path: Path) -> None:
        message = self.refusal(make(tmp_path / f"a{suffix}", {"good.jpg": b"1", name: b"2"}))
        assert f"{name} leads out of the folder" in message

    def test_a_zip_is_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        archive = make_zip(tmp_path / "a.zip", {"good.jpg": b"1", "../evil": b"2", "/evil": b"3"})
        folder = tmp_path / "out"
        with pytest.raises(DataError) as refused:
            unpack(archive, folder)
        assert "../evil" in str(refused.value)
        assert "/evil leads" in str(refused.value)
        assert not list(folder.iterdir())

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
    @pytest.mark.parametrize("name", ["images/CAT.jpg", "images/cat.jpg", "./images//cat.jpg"])
    def test_doubled_names(self, suffix: str, name: str, tmp_path: Path) -> None:
        archive = tmp_path / f"a{suffix}"
        if suffix == ".zip":
            with zipfile.ZipFile(archive, "w") as file, warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                file.writestr("images/cat.jpg", b"1")
                file.writestr(name, b"2")
        else:
            make_tar(archive, {"images/cat.jpg": b"1"}, member(name))
        assert f"{name} is there twice" in self.refusal(archive)

    @pytest.mark.parametrize("suffix", [".zip", ".tar"])
    @pytest.mark.parametrize("names", [("a", "A/b"), ("a/b", "a"), ("a/b/c", "a/b")])
    def test_a_file_where_a_folder_is(self, suffix: str, names: tuple[str, str], tmp_path: Path) -> None:
        assert f"{names[1]} " in self.refusal(make(tmp_path / f"a{suffix}", dict.fromkeys(names, b"")))

    @pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
    @pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd", "images/../../x"])
    def test_links_that_leave(self, kind: bytes, target: str, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar.gz", FILES, member("link", kind, target))
        assert "link is a link that leads out of the folder" in self.refusal(archive)

    def test_no_path_goes_through_a_link(self, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar", FILES, member("way", tarfile.SYMTYPE, "images"), member("way/evil.jpg"))
        assert "way/evil.jpg needs a folder where the archive has a file" in self.refusal(archive)

    def test_links_to_what_is_not_there(self, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar", FILES, member("link", tarfile.SYMTYPE, "missing.jpg"))
        assert "link is a link to missing.jpg, which is not a file of the archive" in self.refusal(archive)

    def test_links_in_a_zip(self, tmp_path: Path) -> None:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr(info, "/etc/passwd")
        assert "link is a link" in self.refusal(tmp_path / "a.zip")

    @pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
    def test_devices(self, kind: bytes, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar.gz", FILES, member("dev", kind))
        assert "dev is a device, a pipe" in self.refusal(archive)

    def test_encrypted_zips(self, tmp_path: Path) -> None:
        archive = make_zip(tmp_path / "a.zip", {"secret.jpg": b"1"})
        patch_directory(archive, offset=8, value=struct.pack("<H", 1))
        assert "secret.jpg is encrypted; unpack it with its password" in self.refusal(archive)

    def test_a_zip_that_the_disk_cannot_hold(self, tmp_path: Path) -> None:
        most = 0xFFFFFFFE
        count = shutil.disk_usage(tmp_path).free // most + 2
        archive = make_zip(tmp_path / "a.zip", {f"{index}": b"" for index in range(count)})
        patch_directory(archive, offset=24, value=struct.pack("<I", most))
        with pytest.raises(ResourceError, match=r"declares [0-9,]+ bytes to unpack, and .* has [0-9,]+ bytes free"):
            unpack(archive)
        assert not list((tmp_path / "out/in").iterdir())

    def test_a_tar_that_the_disk_cannot_hold(self, tmp_path: Path) -> None:
        header = member("huge.jpg", size=1 << 50).tobuf(tarfile.GNU_FORMAT)
        (tmp_path / "a.tar").write_bytes(header + bytes(tarfile.RECORDSIZE))
        with pytest.raises(ResourceError, match=r"declares 1,125,899,906,842,624 bytes"):
            unpack(tmp_path / "a.tar")

    def test_what_is_not_an_archive(self, tmp_path: Path) -> None:
        (tmp_path / "a.zip").write_bytes(b"<html>Log in to download</html>")
        with pytest.raises(DataError, match=r"a\.zip is not an archive that is read \(it begins with b'<html>Log in"):
            unpack(tmp_path / "a.zip")


class TestCompression:
    """The stream is read to its checksum, also behind the last member."""

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[:-4],
            lambda content: content[:-8],
            lambda content: content[:-5] + bytes([content[-5] ^ 255]) + content[-4:],
            lambda content: content[:-1] + bytes([content[-1] ^ 1]),
            lambda content: content + b"garbage",
        ],
    )
    def test_the_trailer_of_gzip(self, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar.gz", FILES)
        archive.write_bytes(damage(archive.read_bytes()))
        with pytest.raises(DataError, match="cut short or damaged"):
            unpack(archive)

    @pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz"])
    def test_every_changed_byte_of_the_content_is_found(self, suffix: str, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / f"a{suffix}", {"weights": bytes(range(256)) * 8})
        good = archive.read_bytes()
        for position in range(20, len(good) - 20, 7):
            archive.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
            with contextlib.suppress(DataError):
                assert unpack(archive) == {"weights": bytes(range(256)) * 8}
            shutil.rmtree(tmp_path / "out")


class TestRules:
    STRICT = Rules(members=3, size=1000)

    def unpack(self, archive: Path) -> None:
        (archive.parent / "in").mkdir()
        Unpacker(archive.parent / "in", self.STRICT).unpack(archive)

    def test_too_many_members(self, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar", dict.fromkeys("123", b""))  # and a folder
        with pytest.raises(DataError, match=r"a\.tar is not unpacked: it holds more than 3 files and folders"):
            self.unpack(archive)

    def test_too_many_bytes(self, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar.gz", {"1": bytes(600), "2": bytes(600)})
        with pytest.raises(DataError, match=r"at 2 its members declare 1,200 bytes, more than the 1,000 allowed"):
            self.unpack(archive)
        assert contents(tmp_path / "in") == {"1": bytes(600)}

    @pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
    def test_links(self, kind: bytes, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar.gz", {"1": b""}, member("2", kind, "1"))
        with pytest.raises(DataError, match="2 is a link to 1; pack files and folders only"):
            self.unpack(archive)

    def test_zips(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"pack it as one of tar, tar\.gz"):
            self.unpack(make_zip(tmp_path / "model.tar.gz", {"1": b""}))

    def test_zips_count_too(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        unpacker = Unpacker(tmp_path / "in", Rules(members=3, size=1000, zips=True))
        with pytest.raises(DataError, match="more than 3 files"):
            unpacker.unpack(make_zip(tmp_path / "a.zip", dict.fromkeys("123", b"")))
        unpacker = Unpacker(tmp_path / "in", Rules(members=3, size=1000, zips=True))
        with pytest.raises(DataError, match="its members declare 1,001 bytes"):
            Unpacker(tmp_path / "in", Rules(9, 1000, zips=True)).unpack(
                make_zip(tmp_path / "b.zip", {"1": bytes(1001)})
            )


def test_a_temporary_folder_goes_and_is_not_named(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", {"1": b"one"})
    with unpacked(archive, MODELS) as folder:
        assert contents(folder) == {"1": b"one"}
    assert not folder.exists()
    with pytest.raises(DataError, match=rf"^{archive}/1 is bad$"), unpacked(archive, MODELS) as folder:
        raise DataError(f"{folder / '1'} is bad")
    assert not folder.exists()


def test_a_full_disk_is_not_the_archives_fault(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", FILES)
    with pytest.raises(ResourceError, match=r"images/cat\.jpg does not fit on the disk"), files_of_at_most(1000):
        unpack(archive)


class TestDamage:
    @pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
    @pytest.mark.parametrize("kept", [0.85, 0.5])
    def test_cut_short(self, suffix: str, kept: float, tmp_path: Path) -> None:
        noise = {f"{index}.jpg": bytes((index * step * step) >> 3 & 255 for step in range(9000)) for index in range(9)}
        archive = make(tmp_path / f"data{suffix}", noise)
        content = archive.read_bytes()
        archive.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(DataError, match=rf"data\{suffix}.* cannot be unpacked: it is cut short or damaged"):
            unpack(archive)

    def test_the_member_is_named(self, tmp_path: Path) -> None:
        archive = make_tar(tmp_path / "a.tar", FILES)
        archive.write_bytes(archive.read_bytes()[:100_000])
        with pytest.raises(DataError, match=r"at its member images/deep/er/dog\.jpg"):
            unpack(archive)

    @pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_any_damage_is_a_users_error_or_harmless(
        self, suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("damaged")
        archive = make(folder / f"a{suffix}", {"a/1.jpg": b"1" * 700, "b.jpg": b"2"})
        content = bytearray(archive.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        archive.write_bytes(content)
        with contextlib.suppress(UserError):
            unpack(archive)
        assert {path.name for path in folder.iterdir()} == {archive.name, "out"}
        shutil.rmtree(folder)


def patch_directory(archive: Path, offset: int, value: bytes) -> None:
    """Write `value` into each entry of a zip's central directory (APPNOTE 4.3.12)."""
    content = bytearray(archive.read_bytes())
    start = content.find(b"PK\x01\x02")
    while start >= 0:
        content[start + offset : start + offset + len(value)] = value
        start = content.find(b"PK\x01\x02", start + 46)
    archive.write_bytes(content)
