"""From a data set as it is downloaded to checked channels with splits."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from byoc_vision import __version__
from byoc_vision.archives import ARCHIVE_SUFFIXES, HERE, Unpacker, is_archive
from byoc_vision.atomic_write import check_new_folder
from byoc_vision.data.channel_writer import write_channels
from byoc_vision.data.decoding import IMAGE_SUFFIXES
from byoc_vision.data.formats import find_dataset, format_names
from byoc_vision.data.formats.channels import find_extras, is_channel_name
from byoc_vision.data.formats.prepared import CLASSES_FILE
from byoc_vision.data.formats.splitting import hold_out
from byoc_vision.data.preflight import check
from byoc_vision.data.preflight.report import ClassReport
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.errors import InputError, ResourceError, UserError
from byoc_vision.preprocess import IGNORED
from byoc_vision.progress import Progress

logger = logging.getLogger(__name__)

RECORD_FILE = "dataset.json"

# Kaggle's download of Carvana holds another 24 GB: images without masks, and the same in more pixels.
_NEVER_READ = {"carvana": ("test", "test.zip", "test_hq*", "train_hq*")}


def prepare(sources: Sequence[Path], output: Path, options: DataOptions, *, test_split: float | None = None) -> Dataset:
    """Read the data in `sources`, folders and archives, and write them to `output` as channels for `train`.

    All images and masks are read first. Invalid ones end the command, or are left out with `options.on_bad_sample`.
    `output` is created at the end, complete, with dataset.json, which records what was done. Until then everything is
    in a hidden folder beside it, which is always removed.

    Args:
        test_split: the share of the training images to hold out as a test split, if there is none.

    Returns:
        The dataset as it was read, without the invalid samples.

    Raises:
        InputError: `output` is not empty, or a source is missing.
        DataError: the data are invalid.
        ResourceError: the disk is full.
    """
    _check_options(options, test_split)
    check_new_folder(output)
    with scratch_beside(output) as scratch, _original_names(scratch / "sources"):
        unpacked, channels = scratch / "sources", scratch / "channels"
        dataset = find_dataset(lay_out(sources, unpacked, options.layout), options)
        dataset = _with_test(dataset, test_split, options.seed)
        total = sum(len(samples) for samples in dataset.splits.values())
        dataset, report = check(dataset, replace(options, checked_pictures=total))
        channels.mkdir()
        write_channels(dataset, channels, own=unpacked.resolve())
        _write_record(channels / RECORD_FILE, dataset, report.classes, sources, options, test_split)
        publish(channels, output)
    for line in next_steps(dataset, output):
        logger.info(line)
    return dataset


def next_steps(dataset: Dataset, output: Path) -> list[str]:
    """Log lines: what was written, and how to train on it."""
    channels = [name for split in dataset.splits for name in _channels(dataset, split)]
    counts = ", ".join(f"{split} {len(samples):,}" for split, samples in dataset.splits.items())
    inputs = ", ".join(f'"{name}": "s3://BUCKET/PREFIX/{name}/"' for name in channels)
    lines = [
        f"wrote {output}: {dataset.task}, {len(dataset.classes)} classes; images: {counts}",
        "train on it here: docker run --rm --shm-size 2g -v JOB:/opt/ml "
        f"-v {output.absolute()}:/opt/ml/input/data:ro byoc-vision train",
        f"train on it on SageMaker: aws s3 sync {output} s3://BUCKET/PREFIX, then estimator.fit({{{inputs}}})",
    ]
    if dataset.task == "segmentation" and dataset.ignore_value not in (None, IGNORED):
        value = dataset.ignore_value
        lines.append(
            f"pixels with the value {value} are ignored, as {CLASSES_FILE} in each channel says; "
            f"without that file training needs ignore_index={value}"
        )
    return lines


def _channels(dataset: Dataset, split: str) -> tuple[str, ...]:
    return (split, f"{split}_annotation") if dataset.task == "segmentation" else (split,)


def _check_options(options: DataOptions, test_split: float | None) -> None:
    """Check the options before gigabytes are unpacked."""
    if options.layout not in ("auto", *format_names()):
        raise InputError(f"the layout {options.layout} is not known; use one of auto, {', '.join(format_names())}")
    for name, share in (("--validation-split", options.validation_split), ("--test-split", test_split)):
        if share is not None and not 0 < share < 1:
            raise InputError(f"{name} is {share:g}; it must be a share of the training images, between 0 and 1")


@contextmanager
def scratch_beside(output: Path) -> Iterator[Path]:
    """A hidden folder on the disk of `output`, removed at the end. Disk errors become errors for the user."""
    parent = output.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".prepare-", dir=parent))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"the disk of {parent} is full; make room, or write to a larger disk") from error
        raise InputError(f"{error.filename or output}: {error.strerror or error}; {output} was not written") from error


def publish(folder: Path, output: Path) -> None:
    """Give the finished folder its place, where there may be an empty one."""
    if output.is_dir():
        output.rmdir()
    folder.rename(output)


@contextmanager
def _original_names(unpacked: Path) -> Iterator[None]:
    """In errors, name unpacked files as in their archive: the scratch folder is removed by then."""
    try:
        yield
    except UserError as error:
        message = str(error)
        if str(unpacked) not in message:
            raise
        plain = message.replace(f"{unpacked}/", "").replace(str(unpacked), "the sources")
        raise type(error)(plain) from error


def _with_test(dataset: Dataset, share: float | None, seed: int) -> Dataset:
    if share is None:
        return dataset
    if dataset.test:
        raise InputError("the data have a test split; leave --test-split out")
    train, test = hold_out(dataset.train, share, seed + 1)
    return replace(dataset, train=train, test=test)


def _write_record(
    path: Path,
    dataset: Dataset,
    classes: Sequence[ClassReport],
    sources: Sequence[Path],
    options: DataOptions,
    test_split: float | None,
) -> None:
    """Write dataset.json: what the channels hold, and how they were made."""
    content = {
        "byoc_vision": __version__,
        "sources": [source.name for source in sources],
        "layout": options.layout,
        "validation_split": options.validation_split,
        "test_split": test_split,
        "seed": options.seed,
        "trimap_border": options.trimap_border,
        "min_class_count": options.min_class_count,
        "task": dataset.task,
        "multi_label": dataset.multi_label,
        "ignore_value": dataset.ignore_value,
        "pictures": {split: len(samples) for split, samples in dataset.splits.items()},
        "classes": [{"name": entry.name, "value": entry.value, "pictures": entry.images} for entry in classes],
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def lay_out(sources: Sequence[Path], folder: Path, layout: str = "auto") -> dict[str, Path]:
    """The channels that the sources hold together, name → folder.

    A single folder is read in its place. Otherwise archives, and archives in them, are unpacked into `folder`, which
    must not exist, and links in it lead to other files and folders. Of a folder with archives each entry is a source.
    layout: what is never read of it is not unpacked.
    Raises InputError if a source is missing or two have the same name, and what `Unpacker.unpack` raises.
    """
    archives, entries = _sort(sources)
    if not archives and len(entries) == 1 and entries[0].is_dir():
        return _channels_of(entries[0])
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
    return _channels_of(folder)


def _sort(sources: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The archives, and the files and folders that are read in their place."""
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


def _channels_of(folder: Path) -> dict[str, Path]:
    """One channel, in whose folders the formats find the splits.

    Several channels, if there are channels of lists, or if images beside the folders of splits hide these.
    """
    inner = {path.name: path for path in folder.iterdir() if path.is_dir() and is_channel_name(path.name)}
    strays = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if "train" not in inner or not (find_extras(inner) or (strays and len(inner) > 1)):
        return {"train": folder}
    for path in strays:
        logger.warning("%s lies beside the channels and is not read", path.name)
    return inner
