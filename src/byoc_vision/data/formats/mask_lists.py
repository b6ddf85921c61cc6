"""Images and masks that lists give, as samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from byoc_vision.data.formats.base import ParsedDataset
from byoc_vision.data.formats.lists import refuse_repeated
from byoc_vision.data.samples import DataOptions, ImageSource, Sample
from byoc_vision.types import ClassInfo

_USUAL_IGNORE_VALUE = 255


@dataclass(frozen=True)
class MaskEntry:
    """An image and its mask. where: what messages call it, such as a file and a line."""

    where: str
    image: ImageSource
    mask: ImageSource
    group: str | None = None


def found_masks(
    entries: Mapping[str, Sequence[MaskEntry]], options: DataOptions, names: Mapping[int, str] | None = None
) -> ParsedDataset:
    """The samples of images with masks.

    names: mask value → class, where the list says so; else the values in the masks will tell.
    """
    refuse_repeated(list(chain(*entries.values())))
    samples = {
        split: tuple(Sample(entry.image, entry.mask, group=entry.group) for entry in of)
        for split, of in entries.items()
    }
    ignored = options.ignore_index
    if ignored is None and _USUAL_IGNORE_VALUE not in (names or {}):
        ignored = _USUAL_IGNORE_VALUE
    classes = tuple(ClassInfo(name, value) for value, name in sorted((names or {}).items()) if value != ignored)
    return ParsedDataset(samples, classes, ignored) if len(classes) > 1 else ParsedDataset(samples)
