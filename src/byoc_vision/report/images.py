"""Images inside the page, as data URLs, within the page's size limit."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from byoc_vision.report.record import IMAGES_FOLDER

LARGEST_FILE = 20_000_000  # bytes; a gallery's are a thousandth of it
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_SIDES = (320, 240, 160, 112)  # pixels of the long side, tried in turn until all fit


@dataclass(frozen=True)
class Images:
    """urls: file name → data URL. left_out: the number of images that did not fit."""

    urls: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0

    @property
    def size(self) -> int:
        """In bytes of the page."""
        return sum(map(len, self.urls.values()))

    def url(self, name: str | None) -> str | None:
        return self.urls.get(name) if name else None


def inline(folder: Path, names: Iterable[str], limit: int) -> Images:
    """The images of a job's folder by name, the most important first, in at most `limit` bytes of data URLs.

    If they do not fit, all are made smaller; if that is not enough, the last are left out. Files that are missing,
    are not JPEG or PNG, or are outside the folder are ignored.
    """
    contents = {name: content for name in dict.fromkeys(names) if (content := _read(folder, name))}
    urls = {name: _url(content) for name, content in contents.items()}
    for side in _SIDES:
        if Images(urls).size <= limit:
            break
        urls = {name: _url(_smaller(content, side)) for name, content in contents.items()}
    kept = _take_while_fitting(urls, limit)
    return Images(kept, len(urls) - len(kept))


def _read(folder: Path, name: str) -> bytes | None:
    path = folder / IMAGES_FOLDER / name
    if Path(name).name != name or not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST_FILE:
        return None
    content = path.read_bytes()
    return content if _kind(content) else None


def _kind(content: bytes) -> str | None:
    return next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)


def _url(content: bytes) -> str:
    return f"data:{_kind(content)};base64,{base64.b64encode(content).decode()}"


def _smaller(content: bytes, side: int) -> bytes:
    """Within `side` pixels: a JPEG as a JPEG, a PNG (a mask) without new colours. Unchanged if that is not smaller."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return content
    size = fit_within(image.shape, side)[::-1]
    if _kind(content) == "image/png":
        _, encoded = cv2.imencode(".png", cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))
    else:
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".jpg", shrunk, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return min(content, encoded.tobytes(), key=len)


def fit_within(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width in the proportions of an array's shape, [h, w, …], with a long side of at most `side` pixels."""
    height, width = shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _take_while_fitting(urls: Mapping[str, str], limit: int) -> dict[str, str]:
    kept, room = {}, limit
    for name, url in urls.items():
        if len(url) <= room:
            kept[name] = url
            room -= len(url)
    return kept
