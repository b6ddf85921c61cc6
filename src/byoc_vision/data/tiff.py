"""What a TIFF file declares, and its samples as they are stored: any number of bands, 8 or 16 bits, integers or floats.

A decoder prepares each strip or tile that the file declares, so their number is checked first: a file of 6 MB can
declare 700,000, which takes 20 seconds for an image of ten pixels. Pillow reads the layouts of photographs only; of
others it decompresses each strip or tile here as if it were a grey image whose pixels are the strip's bytes, and NumPy
undoes their order and predictor. Source: TIFF 6.0 (1992), sections 2, 8 and 15; BigTIFF; Adobe Photoshop TIFF
Technical Note 3 (predictor of floats).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

MAX_PARTS = 65_536  # strips or tiles: an image of 178 megapixels in tiles of 64 × 64 has 43,700
MAX_TAGS = 4_096

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _SAMPLES, _ROWS, _COUNTS = (
    256, 257, 258, 259, 262, 273, 274, 277, 278, 279,
)  # fmt: skip
_PLANES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_COUNTS, _EXTRA, _FORMAT = (
    284, 317, 322, 323, 324, 325, 338, 339,
)  # fmt: skip
_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of the types of whole numbers
_SEPARATE = 2  # planes: each sample has strips of its own
_NONE, _DEFLATE = 1, (8, 32946)
_PALETTE, _CMYK = 3, 5
_DTYPES = {(1, 8): "u1", (1, 16): "u2", (2, 16): "i2", (3, 32): "f4"}  # by sample format and bits


class _Entry(NamedTuple):
    """The values of a tag: the code of their type, None if they are not whole numbers; their number; where they are."""

    code: str | None
    number: int
    place: int


@dataclass(frozen=True)
class Directory:
    """The tags of an image. Values are read when they are needed: a small file can declare gigabytes of them.

    order: `<` or `>`.
    """

    data: bytes
    order: str
    entries: Mapping[int, _Entry]

    def values(self, tag: int) -> tuple[int, ...]:
        """The whole numbers of a tag; none without it, or if they are not in the file."""
        code, count, place = self.entries.get(tag, (None, 0, 0))
        if code is None or count > MAX_PARTS or place > len(self.data):
            return ()
        try:
            return struct.unpack_from(f"{self.order}{count}{code}", self.data, place)
        except struct.error:
            return ()

    def first(self, tag: int, default: int = 0) -> int:
        return next(iter(self.values(tag)), default)

    @property
    def parts(self) -> int | None:
        """The number of strips or tiles that the file declares."""
        entry = self.entries.get(_TILES, self.entries.get(_STRIPS))
        return entry.number if entry else None

    @property
    def orientation(self) -> int:
        """1–8, as in EXIF."""
        value = self.first(_ORIENTATION, 1)
        return value if value in range(1, 9) else 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width, after the orientation is applied."""
        height, width = self.first(_HEIGHT), self.first(_WIDTH)
        return (width, height) if self.orientation >= 5 else (height, width)

    def check_parts(self) -> None:
        """Raises ValueError if the number of strips or tiles is not the one that the image's size needs."""
        width, height = self.first(_WIDTH), self.first(_HEIGHT)
        if _TILES in self.entries:
            across, down = self.first(_TILE_WIDTH), self.first(_TILE_HEIGHT)
        else:
            across, down = width, self.first(_ROWS, height)
        if self.parts is None or not (width and height and across and down):
            return
        planes = self.first(_SAMPLES, 1) or 1 if self.first(_PLANES) == _SEPARATE else 1
        if self.parts != (needed := -(-width // across) * -(-height // down) * planes):
            raise ValueError(f"it has {self.parts:,} strips or tiles, and its size needs {needed:,}")


def read_directory(data: bytes) -> Directory:
    """The first directory; empty if it is damaged, which the decoder reports better.

    Raises ValueError if it declares more than `MAX_TAGS` tags, or more than `MAX_PARTS` strips or tiles.
    """
    order = "<" if data.startswith(b"II") else ">"
    try:
        found = Directory(data, order, dict(_entries(data, order)))
    except struct.error:
        return Directory(data, order, {})
    if (count := found.parts or 0) > MAX_PARTS:
        raise ValueError(f"it has {count:,} strips or tiles, more than {MAX_PARTS:,}; save it with larger ones")
    return found


def _entries(data: bytes, order: str) -> Iterator[tuple[int, _Entry]]:
    """Raises struct.error if the file is too short, ValueError if there are too many tags."""
    is_big = struct.unpack_from(order + "H", data, 2)[0] == 43  # BigTIFF
    offset, head, entry = (order + code for code in (("Q", "Q", "HHQ") if is_big else ("I", "H", "HHI")))
    (start,) = struct.unpack_from(offset, data, 8 if is_big else 4)
    if start >= len(data):
        raise struct.error("the directory is outside of the file")
    (count,) = struct.unpack_from(head, data, start)
    if count > MAX_TAGS:
        raise ValueError(f"it has {count:,} tags, more than {MAX_TAGS:,}")
    position = start + struct.calcsize(head)
    for _ in range(count):
        tag, kind, values = struct.unpack_from(entry, data, position)
        place = position + struct.calcsize(entry)
        position = place + struct.calcsize(offset)
        (elsewhere,) = struct.unpack_from(offset, data, place)
        code = _CODES.get(kind)
        fits = code is None or values * struct.calcsize(order + code) <= position - place
        yield tag, _Entry(code, values, place if fits else elsewhere)


class Layout(NamedTuple):
    """How the samples are stored. alpha: the last band says how opaque a pixel is."""

    height: int
    width: int
    bands: int
    dtype: str
    alpha: bool
    tags: Directory


def read_layout(data: bytes) -> Layout | None:
    """By the first directory; None if it is not one of numbers per band: bits, palettes, CMYK. Raises ValueError."""
    tags = read_directory(data)
    bands, bits = tags.first(_SAMPLES, 1), set(tags.values(_BITS))
    dtype = _DTYPES.get((tags.first(_FORMAT, 1), bits.pop())) if len(bits) == 1 else None
    if dtype is None or tags.first(_PHOTOMETRIC, 1) in (_PALETTE, _CMYK) or not bands >= 1:
        return None
    alpha = tags.values(_EXTRA)[-1:] in ((1,), (2,))
    return Layout(tags.first(_HEIGHT), tags.first(_WIDTH), bands, dtype, alpha, tags)


def read_samples(data: bytes, layout: Layout) -> np.ndarray:
    """All bands, [H, W, bands] of the layout's dtype. Raises ValueError if they are not whole."""
    tags, height, width = layout.tags, layout.height, layout.width
    tiled = _TILES in tags.entries
    rows = tags.first(_TILE_HEIGHT) if tiled else min(tags.first(_ROWS, height), height)
    columns = tags.first(_TILE_WIDTH) if tiled else width
    offsets, counts = tags.values(_TILES if tiled else _STRIPS), tags.values(_TILE_COUNTS if tiled else _COUNTS)
    planar = tags.first(_PLANES, 1) == _SEPARATE
    samples = 1 if planar else layout.bands
    down, across = -(-height // max(rows, 1)), -(-width // max(columns, 1))
    needed = down * across * (layout.bands if planar else 1)
    if not (rows and columns) or not len(offsets) == len(counts) == needed or needed > MAX_PARTS:
        raise ValueError(f"it has {len(offsets):,} strips or tiles, and its size needs {needed:,}")
    if tiled and rows * columns > 16 * max(height * width, 2**16):
        raise ValueError(f"its tiles have {columns} × {rows} pixels, more than the image")
    pixels = np.empty((height, width, layout.bands), np.dtype(layout.dtype))
    for index, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        plane, place = divmod(index, down * across)
        top, left = place // across * rows, place % across * columns
        part_rows = rows if tiled else min(rows, height - top)
        part = _read_part(data[offset : offset + count], count, part_rows, columns, samples, layout)
        shown = part[: height - top, : width - left]
        bands = slice(plane, plane + 1) if planar else slice(None)
        pixels[top : top + rows, left : left + columns, bands] = shown
    return pixels


def _read_part(content: bytes, count: int, rows: int, columns: int, samples: int, layout: Layout) -> np.ndarray:
    """A strip or tile, [rows, columns, samples]."""
    dtype = np.dtype(layout.tags.order + layout.dtype)
    size = rows * columns * samples * dtype.itemsize
    if len(content) < count:
        raise ValueError("its pixels are cut short")
    raw = _decompress(content, rows, size // max(rows, 1), layout)
    if len(raw) < size:
        raise ValueError("pixels at the end of a strip or tile are missing")
    predictor = layout.tags.first(_PREDICTOR, 1)
    if predictor == 3:
        return _undo_float_predictor(raw[:size], rows, columns, samples)
    part = np.frombuffer(raw, dtype, rows * columns * samples).reshape(rows, columns, samples)
    if predictor == 2:
        return np.cumsum(part.astype(layout.dtype), axis=1, dtype=layout.dtype)
    return part


def _decompress(content: bytes, rows: int, row_bytes: int, layout: Layout) -> bytes:
    compression, order = layout.tags.first(_COMPRESSION, 1), layout.tags.order
    if compression == _NONE:
        return content
    if compression in _DEFLATE:
        return zlib.decompressobj().decompress(content, rows * row_bytes)
    values = {256: row_bytes, 257: rows, 258: 8, 259: compression, 262: 1, 273: 0, 277: 1, 278: rows, 279: len(content)}
    head = 8 + 2 + 12 * len(values) + 4
    values[273] = head
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    mark = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(values))
    image = TiffImageFile(io.BytesIO(mark + entries + bytes(4) + content))
    image.load()
    return image.tobytes()


def _undo_float_predictor(raw: bytes, rows: int, columns: int, samples: int) -> np.ndarray:
    """The bytes of a row by significance, the highest first, each as the difference to the one `samples` before."""
    values = np.frombuffer(raw, np.uint8).reshape(rows, 4 * columns, samples)
    summed = np.cumsum(values, axis=1, dtype=np.uint8).reshape(rows, 4, columns * samples)
    floats = np.ascontiguousarray(summed.transpose(0, 2, 1)).view(">f4")
    return floats.reshape(rows, columns, samples).astype(np.float32)
