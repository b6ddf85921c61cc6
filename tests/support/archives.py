"""Archives of a few files, and what they unpack to."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from byoc_vision.archives import Unpacker
from byoc_vision.artifact import CONFIG_FILE, WEIGHTS_FILE

TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def make_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images/", b"")
        for name, content in files.items():
            file.writestr(name, content)
    return path


def make_tar(path: Path, files: Mapping[str, bytes], *others: tarfile.TarInfo) -> Path:
    mode = next(mode for suffix, mode in TAR_MODES.items() if path.name.endswith(suffix))
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        file.addfile(member("images", tarfile.DIRTYPE))
        for name, content in files.items():
            file.addfile(member(name, size=len(content)), io.BytesIO(content))
        for other in others:
            file.addfile(other)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def make(path: Path, files: Mapping[str, bytes]) -> Path:
    return make_zip(path, files) if path.suffix == ".zip" else make_tar(path, files)


def pack(folder: Path, archive: Path, inside: str = ".") -> Path:
    """The content of a folder as a .tar.gz, below the path `inside`."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        file.add(folder, inside)
    return archive


def pack_model(model: Path, archive: Path, prefix: str = "") -> Path:
    """The two files of a model as its job's model.tar.gz. prefix: of their names in the archive."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            file.add(model / name, prefix + name)
    return archive


def unpack(archive: Path, folder: Path | None = None) -> dict[str, bytes]:
    """Unpack into a new folder `out/in`; all files that are below it then."""
    folder = folder or archive.parent / "out" / "in"
    folder.mkdir(parents=True)
    Unpacker(folder).unpack(archive, lambda _: None)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
