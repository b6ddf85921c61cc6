"""Names by which an image and its mask find each other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from byoc_vision.data.formats.channels import split_named

_WORDS = (
    "gtfine_labelids", "leftimg8bit", "groundtruth", "ground_truth", "segmentation", "annotation", "masks", "mask",
    "labels", "label", "anno", "seg", "gt", "images", "image", "img", "photo", "rgb", "sat",
)  # fmt: skip
_MASK_WORD = re.compile(r"mask|label|annot|segm|(^|[^a-z])(seg|gt|truth|ann)([^a-z]|$)|ground_?truth", re.IGNORECASE)
_PREFIX = re.compile(rf"(?<![^\W_])(?:{'|'.join(_WORDS)})(?:[_\-. ]+(?=.)|(?=[0-9]))", re.IGNORECASE)
_ENDING = re.compile(r"\.(jpe?g|png|tiff?|bmp)$", re.IGNORECASE)  # `1.jpg.png` is the mask of `1.jpg`
_SUFFIX = re.compile(rf"(?<=[^_\-. ])[_\-. ]+(?:{'|'.join(_WORDS)})$", re.IGNORECASE)


def composed(name: str) -> str:
    """A name in Unicode's composed form: macOS stores `é` as two characters, others as one."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def core(stem: str) -> str:
    """A relative path without its ending, without words for images and masks: `mask_1`, `img_1`, `1_mask` → `1`.

    Folders of splits do not count: `train/1` and `training/1` are the same.
    """
    folder, _, name = composed(stem).rpartition("/")
    name = _PREFIX.sub("", _ENDING.sub("", name), count=1)
    while (shorter := _SUFFIX.sub("", name)) != name:
        name = shorter
    return "/".join([*(part for part in folder.split("/") if not split_named(part)), name]) if folder else name


def names_masks(name: str) -> bool:
    """Whether a folder's name says that it holds masks."""
    return _MASK_WORD.search(name) is not None


def unique_cores(stems: Iterable[str], *, by_name: bool = False) -> dict[str, str]:
    """core → stem, of the stems whose core no other one has. by_name: the core of the name alone, without folders."""
    found: dict[str, str | None] = {}
    for stem in stems:
        key = core(stem.rpartition("/")[2] if by_name else stem)
        found[key] = None if key in found else stem
    return {key: stem for key, stem in found.items() if stem is not None}
