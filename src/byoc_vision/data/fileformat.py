"""The image format of some bytes, and whether the file is truncated.

Decoders differ in this: some return the missing part of a truncated image as grey. The checks here read only the
structure of the file, which is much faster than decoding it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

from byoc_vision.data.jpeg_structure import has_end

Format = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


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
    return "BMP" if data.startswith(b"BM") else None


def is_lossy(data: bytes) -> bool:
    """Whether the pixels differ from those that were saved: JPEG, and WebP unless it is lossless."""
    kind = identify(data)
    return kind == "JPEG" or (kind == "WebP" and b"VP8 " in data[12:64])


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
    return True


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
        return "it looks like a HEIC or AVIF image or a video"
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
