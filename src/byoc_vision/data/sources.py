"""Where data come from, folders and archives, laid side by side as the channels that a layout reads."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from byoc_vision.archives import ARCHIVE_SUFFIXES, HERE, Unpacker, is_archive
from byoc_vision.data.decoding import IMAGE_SUFFIXES
from byoc_vision.data.formats.channels import find_extras, is_channel_name
from byoc_vision.errors import InputError
from byoc_vision.progress import Progress

logger = logging.getLogger(__name__)

# Kaggle's download of Carvana holds another 24 GB: images without masks, and the same in more pixels.
_NEVER_READ = {"carvana": ("test", "test.zip", "test_hq*", "train_hq*")}


def lay_out(sources: Sequence[Path], folder: Path, layout: str = "auto") -> dict[str, Path]:
    """The channels that the sources hold together, name → folder.

    A single folder is read where it is. Otherwise archives are unpacked into `folder`, which must not exist, and
    archives in them too; several folders stand in it by links of their names. A folder that holds archives is taken
    as these, and what lies beside them.
    layout: what is never read of it is not unpacked.
    Raises InputError where a source is missing or two would have one place, and what `Unpacker.unpack` raises.
    """
    archives, entries = _sort(sources)
    if not archives and len(entries) == 1 and entries[0].is_dir():
        return _channels(entries[0])
    folder.mkdir()
    unpacker = Unpacker(folder, skipped=_NEVER_READ.get(layout, ()))
    for archive in archives:
        _unpack(unpacker, archive)
    for archive in list(_archives_within(folder)):
        _unpack(unpacker, archive, PurePosixPath(archive.parent.relative_to(folder)))
        archive.unlink()
    for entry in entries:
        link = folder / entry.name
        if link.exists():
            raise InputError(f"{entry} and another source would both be {entry.name}; rename one of them")
        link.symlink_to(entry.absolute())
    return _channels(folder)


def _sort(sources: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The archives, and the files and folders that are read where they are."""
    archives: list[Path] = []
    entries: list[Path] = []
    for source in sources:
        if source.is_file():
            (archives if is_archive(source) else entries).append(source)
            continue
        if not source.is_dir():
            raise InputError(
                f"{source} does not exist; a source is a folder or an archive ({', '.join(ARCHIVE_SUFFIXES)})"
            )
        inside = sorted(path for path in source.iterdir() if not path.name.startswith("."))
        within = [path for path in inside if path.is_file() and is_archive(path)]
        archives += within
        entries += [path for path in inside if path not in within] if within else [source]
    return archives, entries


def _archives_within(folder: Path) -> Iterator[Path]:
    """Archives that archives held, at their top or one folder deep."""
    for pattern in ("*", "*/*"):
        yield from (path for path in sorted(folder.glob(pattern)) if path.is_file() and is_archive(path))


def _unpack(unpacker: Unpacker, archive: Path, below: PurePosixPath = HERE) -> None:
    logger.info("unpacking %s", archive.name)
    with Progress(f"unpacking {archive.name}", archive.stat().st_size, unit="bytes") as progress:
        unpacker.unpack(archive, progress.update, below)


def _channels(folder: Path) -> dict[str, Path]:
    """All in one channel, whose folders the layouts tell apart.

    Lists that are channels are given as such, and so are folders of splits where a stray image lies beside them.
    """
    inner = {path.name: path for path in folder.iterdir() if path.is_dir() and is_channel_name(path.name)}
    strays = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if "train" not in inner or not (find_extras(inner) or (strays and len(inner) > 1)):
        return {"train": folder}
    for path in strays:
        logger.warning("%s lies beside the channels and is not read", path.name)
    return inner
