"""The image format of some bytes, and whether the file is truncated.

Decoders differ in this: some return the missing part of a truncated image as grey. The checks here read only the
structure of the file, which is much faster than decoding it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

from numpy.lib.format import MAGIC_PREFIX

from byoc_vision.data.jpeg import has_end

Format = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "HEIC", "AVIF"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED_BOXES = frozenset({b"ftyp", b"meta", b"mdat", b"moov"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def identify(data: bytes) -> Format | None:
    """The format by the first bytes, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if data[4:8] == b"ftyp":
        return _identify_boxes(data)
    return "BMP" if data.startswith(b"BM") else None


def is_npy(data: bytes) -> bool:
    """Whether the bytes are an array that numpy.save wrote."""
    return data.startswith(MAGIC_PREFIX)


def _identify_boxes(data: bytes) -> Format | None:
    """By the brands of an ISO media file: HEIC or AVIF, or None for a video (ISO 14496-12, 4.3; 23008-12)."""
    length = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[start : start + 4] for start in range(16, length, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else None


def is_lossy(data: bytes) -> bool:
    """Whether the pixels differ from those that were saved: JPEG, HEIC, AVIF, and WebP unless it is lossless."""
    kind = identify(data)
    return kind in ("JPEG", "HEIC", "AVIF") or (kind == "WebP" and b"VP8 " in data[12:64])


def is_whole(data: bytes, kind: Format) -> bool:
    """False if the end that the format requires is missing. Bytes after that end do not matter.

    Always True for BMP, TIFF and GIF, whose decoders report missing pixels themselves.
    """
    if kind == "JPEG":
        return has_end(data)
    if kind == "PNG":
        return any(name == b"IEND" for name, _ in _png_chunks(data))
    if kind == "WebP":
        return len(data) >= 12 and len(data) >= 8 + int(struct.unpack_from("<I", data, 4)[0])
    if kind in ("HEIC", "AVIF"):
        return {b"meta", b"mdat"} <= _whole_boxes(data)
    return True


def _whole_boxes(data: bytes) -> set[bytes]:
    """The names of the boxes at the top level of an ISO media file; without one that is cut short, empty."""
    names: set[bytes] = set()
    position = 0
    while position + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        if size == 1 and position + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, position + 8)
        size = size or len(data) - position  # 0: to the end
        if size < 8 or (position + size > len(data) and name in _NEEDED_BOXES):
            return set()
        names.add(name)
        position += size
    return names


def png_bit_depth(data: bytes) -> int:
    """Bits per sample: 1, 2, 4, 8 or 16."""
    return data[24]


def png_exif(data: bytes) -> bytes:
    """The EXIF block of a PNG, anywhere in the file; empty if there is none."""
    return next((bytes(body) for name, body in _png_chunks(data) if name == b"eXIf"), b"")


def describe(data: bytes) -> str:
    """What bytes that are not an image look like, for an error message."""
    if not data:
        return "it is empty"
    if data[4:8] == b"ftyp":
        return "it looks like a video"
    start = data[:48]
    text = start.decode("utf-8", errors="replace").rstrip("\ufffd")  # the slice may split a character
    if text and all(character.isprintable() or character.isspace() for character in text) and "\ufffd" not in text:
        return f"it begins with the text {' '.join(text.split())!r}"
    return f"it begins with the bytes {start[:8].hex(' ')}"


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of the complete chunks, up to IEND (PNG specification, 5.3)."""
    view = memoryview(data)
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            return
        yield name, view[position + 8 : end - 4]
        if name == b"IEND":
            return
        position = end
