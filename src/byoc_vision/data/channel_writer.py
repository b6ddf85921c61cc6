"""Writes a data set as standard channels: images unchanged, masks as PNG, classes by name."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2

from byoc_vision.data import fileformat
from byoc_vision.data.decoding import read_content
from byoc_vision.data.fileformat import Format, is_npy
from byoc_vision.data.formats.channels import MASK_FOLDER_NAMES, is_channel_name
from byoc_vision.data.formats.image_mask_pairs import IMAGE_FOLDER_NAMES
from byoc_vision.data.formats.prepared import CLASSES_FILE, ClassesRecord, ClassRecord
from byoc_vision.data.samples import ByteRange, Dataset, ImageSource, Sample
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError
from byoc_vision.progress import Progress
from byoc_vision.system.machine import available_cores

_ENDINGS: dict[Format, str] = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WebP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "GIF": ".gif",
    "HEIC": ".heic",
    "AVIF": ".avif",
}
LABELS_FILE = "labels.manifest"
_LABELS_TYPE = "groundtruth/image-classification-multilabel"
_AT_ONCE = 64  # samples passed to the threads
_LONGEST_NAME = 200  # bytes; file systems allow 255, with the ending
_UNSAFE = re.compile(r"[^\w .,&'()+-]")


class _WriteTask(NamedTuple):
    """A sample to write. image: the path of its image, without an ending; mask: of its mask."""

    sample: Sample
    image: Path
    mask: Path | None


def write_channels(dataset: Dataset, output: Path, *, own: Path | None = None) -> None:
    """Write a dataset whose classes are known as channels below the folder `output`.

    Segmentation: SPLIT/NAME.jpg and SPLIT_annotation/NAME.png, 8-bit grey with the labels as values.
    Classification: SPLIT/CLASS/NAME.jpg. Both with SPLIT/classes.json, which names the classes.
    Multi-label: SPLIT/NAME.jpg and the augmented manifest SPLIT/labels.manifest.
    Images are copied byte for byte; their ending is that of their format.

    own: images below this folder are temporary: they are linked instead of copied.
    Raises DataError if a file cannot be read, OSError if one cannot be written.
    """
    folders = [] if dataset.multi_label else class_folder_names(dataset.class_names)
    jobs = {split: _plan(samples, output / split, folders) for split, samples in dataset.splits.items()}
    images = _write_all([job for planned in jobs.values() for job in planned], own)
    for split, planned in jobs.items():
        if dataset.multi_label:
            _write_labels(output / split, dataset.class_names, planned, images)
        else:
            write_classes(dataset, output / split, folders)


def class_folder_names(classes: Sequence[str]) -> list[str]:
    """A folder name for each class: its own if all file systems allow it and no data format misreads it."""
    return _numbered([_class_folder_name(name) for name in classes])


def file_stems(files: Sequence[ImageSource]) -> list[str]:
    """A distinct name without an ending for each file: its own, with the folders above it if necessary."""
    parts = [_named_parts(file) for file in files]
    depths = [1] * len(parts)
    while True:
        names = [_shortened("_".join(path[-depth:])) for path, depth in zip(parts, depths, strict=True)]
        counts = Counter(name.casefold() for name in names)
        clashing = [at for at, name in enumerate(names) if counts[name.casefold()] > 1 and depths[at] < len(parts[at])]
        if not clashing:
            return _numbered(names)
        for at in clashing:
            depths[at] += 1


def _named_parts(file: ImageSource) -> list[str]:
    if isinstance(file, ByteRange):
        return [_safe(file.title)]
    return [_safe(part) for part in (*file.parts[1:-1], file.stem)]


def _class_folder_name(name: str) -> str:
    safe = _safe(name)
    misread = is_channel_name(safe) or safe.casefold() in {*IMAGE_FOLDER_NAMES, *MASK_FOLDER_NAMES}
    return f"{safe}_" if misread else safe


def _safe(name: str) -> str:
    """A name for a file or a folder that is not hidden and that all common file systems allow."""
    return _shortened(_UNSAFE.sub("_", name)) or "_"


def _shortened(name: str) -> str:
    """The end of a name that is too long, because file names differ there."""
    return name.encode()[-_LONGEST_NAME:].decode(errors="ignore").strip(" .")


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, with a number appended to repeated ones, ignoring case."""
    taken = {name.casefold() for name in names}
    seen: set[str] = set()
    numbered: list[str] = []
    for name in names:
        candidate = name
        if name.casefold() in seen:
            numbers = (f"{name}-{number}" for number in count(2))
            candidate = next(other for other in numbers if other.casefold() not in taken)
        taken.add(candidate.casefold())
        seen.add(candidate.casefold())
        numbered.append(candidate)
    return numbered


def _plan(samples: Sequence[Sample], channel: Path, folders: Sequence[str]) -> list[_WriteTask]:
    """The paths for the samples of a split."""
    masks = channel.with_name(f"{channel.name}_annotation")
    by_folder: dict[Path, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_folder[channel if sample.label is None else channel / folders[sample.label]].append(sample)
    return [
        _WriteTask(sample, folder / stem, masks / stem if sample.mask else None)
        for folder, held in by_folder.items()
        for sample, stem in zip(held, file_stems([sample.image for sample in held]), strict=True)
    ]


def _write_all(jobs: Sequence[_WriteTask], own: Path | None) -> dict[Path, Path]:
    """Write images and masks in parallel. Returns planned path of an image → path with its ending."""
    for folder in {path.parent for job in jobs for path in (job.image, job.mask) if path}:
        folder.mkdir(parents=True, exist_ok=True)
    threads = available_cores()
    written: dict[Path, Path] = {}
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="prepare") as pool,
        Progress("writing", len(jobs)) as progress,
    ):
        for start in range(0, len(jobs), _AT_ONCE):  # so that an error or Ctrl-C does not wait for all samples
            some = jobs[start : start + _AT_ONCE]
            for job, image in zip(some, pool.map(lambda job: _write(job, own), some), strict=True):
                written[job.image] = image
                progress.update()
    return written


def _write(job: _WriteTask, own: Path | None) -> Path:
    source, content = job.sample.image, read_content(job.sample.image)
    kind = fileformat.identify(content.data)
    if kind is None and not is_npy(content.data):
        raise DataError(f"{source} is not an image: {fileformat.describe(content.data)}")
    image = job.image.with_name(f"{job.image.name}{_ENDINGS[kind] if kind else '.npy'}")
    if own is not None and isinstance(source, Path) and source.resolve().is_relative_to(own):
        os.link(source, image)
    else:
        image.write_bytes(content.data)
    if job.mask is not None:
        written, encoded = cv2.imencode(".png", read_mask_values(job.sample, image=content))
        assert written, "OpenCV encodes every uint8 array as PNG"
        job.mask.with_name(f"{job.mask.name}.png").write_bytes(encoded.tobytes())
    return image


def write_classes(dataset: Dataset, channel: Path, folders: Sequence[str] = ()) -> None:
    """Name the classes in a channel. folders: of the classes, for a classification."""
    _classes_record(dataset, folders).write(channel / CLASSES_FILE)


def _classes_record(dataset: Dataset, folders: Sequence[str]) -> ClassesRecord:
    if dataset.task == "segmentation":
        classes = [ClassRecord(name=entry.name, value=entry.value, color=entry.color) for entry in dataset.classes]
    else:
        pairs = zip(dataset.class_names, folders, strict=True)
        classes = [ClassRecord(name=name, folder=folder) for name, folder in pairs]
    return ClassesRecord(classes=tuple(classes), ignore_value=dataset.ignore_value)


def _write_labels(channel: Path, names: Sequence[str], jobs: Sequence[_WriteTask], images: Mapping[Path, Path]) -> None:
    """The manifest of a channel, as Ground Truth writes it: a line per image, with its classes and their names."""
    with (channel / LABELS_FILE).open("w", encoding="utf-8") as file:
        for job in jobs:
            labels = job.sample.labels or ()
            metadata = {"class-map": {str(label): names[label] for label in labels}, "type": _LABELS_TYPE}
            line = {"source-ref": images[job.image].name, "label": labels, "label-metadata": metadata}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
