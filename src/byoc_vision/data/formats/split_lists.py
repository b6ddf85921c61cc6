"""The splits that text files list, beside any format: `train.txt`, `val.txt`; or CUB-200's `train_test_split.txt`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.lists import (
    Line,
    ending_with,
    files_ending,
    find_lists,
    images_by_name,
    read_lines,
    split_of,
    tails_of,
)
from byoc_vision.errors import DataError, list_problems

logger = logging.getLogger(__name__)

_MOST_LISTS = 10
_NUMBERED, _FLAGS = "images.txt", "train_test_split.txt"  # CUB-200's


def with_listed_splits(found: ParsedDataset, inputs: Inputs) -> ParsedDataset:
    """The samples by the splits that text files list, if there are such files; images in none of them stay in training.

    Raises DataError if no training image is left.
    """
    images = (sample.image for sample in found.samples["train"] if isinstance(sample.image, Path))
    splits = splits_of_text_files(inputs, images)
    split_of_sample = [
        (splits.get(one.image) if isinstance(one.image, Path) else None, one) for one in found.samples["train"]
    ]
    if {split for split, _ in split_of_sample} <= {None, "train"}:
        return found
    if unlisted := [str(sample.image) for split, sample in split_of_sample if split is None]:
        logger.warning(
            "images in no list of a split, which are training images: %d, such as %s", len(unlisted), unlisted[0]
        )
    samples = {
        name: tuple(sample for split, sample in split_of_sample if (split or "train") == name)
        for name in ("train", "validation", "test")
    }
    folder = inputs.first.images.path
    if not samples["train"]:
        raise DataError(f"the lists of splits in {folder} leave no training image; list some in train.txt")
    logger.info("the splits are those of text files in %s", folder)
    return replace(found, samples={name: held for name, held in samples.items() if held})


def splits_of_text_files(inputs: Inputs, images: Iterable[Path]) -> dict[Path, str]:
    """The split of each image that a text file named like a split lists: `train.txt`, `val.txt`, `train_val_list.txt`.

    They lie beside or above the images, or in a folder without images (`meta/`, `splits/`). Lines that do not name an
    image do not count: such lists may be of a larger data set.

    images: among which they are looked up, without the masks.
    Raises DataError that names the images in lists of two splits.
    """
    lines = list(_lines(list(_text_files(inputs))))
    of_name = images_by_name(map(str, images if lines else ()))
    splits: dict[Path, str] = {}
    problems = []
    for line, split in lines:
        image = _listed_image(of_name, line.text)
        if image is not None and splits.setdefault(image, split) != split:
            problems.append(f"{line.place}: {image.name} is also in a list of {splits[image]} images")
    if problems:
        raise DataError(list_problems("images are in the lists of two splits; keep one line for each:", problems))
    return splits


def _text_files(inputs: Inputs) -> Iterator[Path]:
    """Beside and above the images, and in folders without images."""
    yield from (file.path for file in find_lists(inputs, (".txt",)))
    for outer in inputs.first.images.unwrapped():
        beside = [inner for inner in outer.folders if not inner.has_images]
        for folder in beside if outer is inputs.first.images else (outer, *beside):
            yield from (folder.path / name for name in files_ending(folder, (".txt",)))


def _lines(files: list[Path]) -> Iterator[tuple[Line, str]]:
    """The lines that name images, and their split."""
    named = [(path, split) for path in files if (split := _split_of_list(path.name))]
    if len(named) <= _MOST_LISTS:  # more: a text file for each image, as YOLO's
        yield from ((line, split) for path, split in named for line in read_lines(path))
    for path in files:
        if path.name == _FLAGS and path.with_name(_NUMBERED) in files:
            yield from _numbered_lines(path.with_name(_NUMBERED), path)


def _numbered_lines(names: Path, flags: Path) -> Iterator[tuple[Line, str]]:
    """CUB-200's: `7 001.Auk/1.jpg` in one file; in the other `7 1` if that is a training image, `7 0` if a test image.

    Raises DataError that names the lines unlike these.
    """
    image_of = {number: image for line in read_lines(names) for number, _, image in [line.text.partition(" ")]}
    lines = [(line.place, *line.text.partition(" ")[::2]) for line in read_lines(flags)]
    problems = [
        f"{place}: expected the number of an image in {_NUMBERED}, and 1 for training or 0 for test; found {number!r} "
        f"and {flag!r}"
        for place, number, flag in lines
        if number not in image_of or flag not in ("0", "1")
    ]
    if problems:
        raise DataError(list_problems(f"lines of {flags} that cannot be used; fix them, or remove the file:", problems))
    yield from ((Line(place, image_of[number]), "train" if flag == "1" else "test") for place, number, flag in lines)


def _split_of_list(name: str) -> str | None:
    words = set(filter(None, map(split_of, re.split(r"[^a-z]+", name.lower())[:-1])))
    if words == {"train", "validation"} or name.lower().startswith("trainval"):
        return "train"
    return next(iter(words)) if len(words) == 1 else None


def _listed_image(of_name: Mapping[str, list[str]], text: str) -> Path | None:
    """The image of a line: all of it, or a path before other words, as in `cat/1.jpg 0`.

    It is the only one whose path ends with the longest tail of these: such lists may have other folders above.
    """
    first = text.split()[0]
    for part in (text, first) if "/" in first or "." in first[-5:-2] else (text,):
        for tail in tails_of(part):
            if len(found := ending_with(of_name, tail)) == 1:
                return Path(found[0])
    return None
