"""Images inside the page, as data URLs, within a limit that the page as a whole has to keep."""

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
    """File name → data URL, of those that could be had. left_out: those there was no room for."""

    urls: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0

    @property
    def size(self) -> int:
        """In bytes of the page."""
        return sum(map(len, self.urls.values()))

    def url(self, name: str | None) -> str | None:
        return self.urls.get(name) if name else None


def inline(folder: Path, names: Iterable[str], limit: int) -> Images:
    """The images of a job's folder by name, the most important first, in `limit` bytes of data URLs at the most.

    Where they do not fit as they are, all are made smaller; where that does not do, the last are left out. What is
    missing, or is no JPEG or PNG, or lies elsewhere, is passed over.
    """
    contents = {name: content for name in dict.fromkeys(names) if (content := _read(folder, name))}
    urls = {name: _url(content) for name, content in contents.items()}
    for side in _SIDES:
        if Images(urls).size <= limit:
            break
        urls = {name: _url(_smaller(content, side)) for name, content in contents.items()}
    kept = _that_fit(urls, limit)
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
    """Within `side` pixels: a JPEG as a JPEG, a PNG (a mask) without new colours. The same where that is no less."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return content
    scale = min(1.0, side / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    if _kind(content) == "image/png":
        _, encoded = cv2.imencode(".png", cv2.resize(image, size, interpolation=cv2.INTER_NEAREST))
    else:
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".jpg", shrunk, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return min(content, encoded.tobytes(), key=len)


def _that_fit(urls: Mapping[str, str], limit: int) -> dict[str, str]:
    kept, room = {}, limit
    for name, url in urls.items():
        if len(url) <= room:
            kept[name] = url
            room -= len(url)
    return kept
