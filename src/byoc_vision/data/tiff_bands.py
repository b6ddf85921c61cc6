"""The samples of a TIFF as they are stored: any number of bands, 8 or 16 bits, integers or floats.

Pillow reads the layouts of photographs only. Here it decompresses each strip or tile as if it were a grey image whose
pixels are the strip's bytes; their order and predictor are undone with NumPy. Source: TIFF 6.0 (1992); Adobe Photoshop
TIFF Technical Note 3 (predictor of floats).
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _SAMPLES, _ROWS, _COUNTS = 258, 259, 262, 273, 277, 278, 279
_PLANES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_COUNTS, _EXTRA, _FORMAT = (
    284, 317, 322, 323, 324, 325, 338, 339,
)  # fmt: skip
_NONE, _DEFLATE = 1, (8, 32946)
_RGB, _PALETTE, _CMYK = 2, 3, 5
_DTYPES = {(1, 8): "u1", (1, 16): "u2", (2, 16): "i2", (3, 32): "f4"}  # by sample format and bits
_MOST_PARTS = 65_536


class Layout(NamedTuple):
    """How the samples are stored. order: `<` or `>`. alpha: the last band says how opaque a pixel is."""

    height: int
    width: int
    bands: int
    dtype: str
    order: str
    alpha: bool
    tags: dict[int, tuple[int, ...]]


def read_layout(data: bytes) -> Layout | None:
    """By the first directory; None if it is not one of numbers per band: bits, palettes, CMYK. Raises ValueError."""
    try:
        order, tags = _directory(data)
    except struct.error as error:
        raise ValueError(f"its directory is damaged ({error})") from error

    def first(tag: int, default: int) -> int:
        return tags[tag][0] if tags.get(tag) else default

    bands, bits = first(_SAMPLES, 1), set(tags.get(_BITS, (1,)))
    dtype = _DTYPES.get((first(_FORMAT, 1), bits.pop())) if len(bits) == 1 else None
    if dtype is None or first(_PHOTOMETRIC, 1) in (_PALETTE, _CMYK) or not bands >= 1:
        return None
    alpha = bool(tags.get(_EXTRA)) and tags[_EXTRA][-1] in (1, 2)
    return Layout(first(257, 0), first(256, 0), bands, dtype, order, alpha, tags)


def read_samples(data: bytes, layout: Layout) -> np.ndarray:
    """All bands, [H, W, bands] of the layout's dtype. Raises ValueError if they are not whole."""
    tags, height, width = layout.tags, layout.height, layout.width
    tiled = _TILES in tags
    rows = tags[_TILE_HEIGHT][0] if tiled else min(tags.get(_ROWS, (height,))[0], height)
    columns = tags[_TILE_WIDTH][0] if tiled else width
    offsets, counts = tags.get(_TILES if tiled else _STRIPS, ()), tags.get(_TILE_COUNTS if tiled else _COUNTS, ())
    planar = tags.get(_PLANES, (1,))[0] == 2
    samples = 1 if planar else layout.bands
    down, across = -(-height // max(rows, 1)), -(-width // max(columns, 1))
    needed = down * across * (layout.bands if planar else 1)
    if not (rows and columns) or not len(offsets) == len(counts) == needed or needed > _MOST_PARTS:
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
    dtype = np.dtype(layout.order + layout.dtype)
    size = rows * columns * samples * dtype.itemsize
    if len(content) < count:
        raise ValueError("its pixels are cut short")
    raw = _decompress(content, rows, size // max(rows, 1), layout)
    if len(raw) < size:
        raise ValueError("pixels at the end of a strip or tile are missing")
    predictor = layout.tags.get(_PREDICTOR, (1,))[0]
    if predictor == 3:
        return _undo_float_predictor(raw[:size], rows, columns, samples)
    part = np.frombuffer(raw, dtype, rows * columns * samples).reshape(rows, columns, samples)
    if predictor == 2:
        return np.cumsum(part.astype(layout.dtype), axis=1, dtype=layout.dtype)
    return part


def _decompress(content: bytes, rows: int, row_bytes: int, layout: Layout) -> bytes:
    compression = layout.tags.get(_COMPRESSION, (1,))[0]
    if compression == _NONE:
        return content
    if compression in _DEFLATE:
        return zlib.decompressobj().decompress(content, rows * row_bytes)
    values = {256: row_bytes, 257: rows, 258: 8, 259: compression, 262: 1, 273: 0, 277: 1, 278: rows, 279: len(content)}
    head = 8 + 2 + 12 * len(values) + 4
    values[273] = head
    entries = b"".join(struct.pack(layout.order + "HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    mark = (b"II*\0" if layout.order == "<" else b"MM\0*") + struct.pack(layout.order + "IH", 8, len(values))
    image = TiffImageFile(io.BytesIO(mark + entries + bytes(4) + content))
    image.load()
    return image.tobytes()


def _undo_float_predictor(raw: bytes, rows: int, columns: int, samples: int) -> np.ndarray:
    """The bytes of a row by significance, the highest first, each as the difference to the one `samples` before."""
    values = np.frombuffer(raw, np.uint8).reshape(rows, 4 * columns, samples)
    summed = np.cumsum(values, axis=1, dtype=np.uint8).reshape(rows, 4, columns * samples)
    floats = np.ascontiguousarray(summed.transpose(0, 2, 1)).view(">f4")
    return floats.reshape(rows, columns, samples).astype(np.float32)


def _directory(data: bytes) -> tuple[str, dict[int, tuple[int, ...]]]:
    """The byte order, and the whole numbers of the tags. Raises struct.error and ValueError."""
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    head, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    (entries,) = struct.unpack_from(order + head, data, start)
    if entries > 4096:
        raise ValueError(f"it has {entries:,} tags")
    position = start + struct.calcsize("=" + head)
    tags: dict[int, tuple[int, ...]] = {}
    for _ in range(entries):
        tag, kind, count = struct.unpack_from(order + entry, data, position)
        place = position + struct.calcsize("=" + entry)
        code = _TYPES.get(kind)
        if code is not None and count <= _MOST_PARTS:
            size = struct.calcsize("=" + code) * count
            if size > inline:
                (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
            tags[tag] = struct.unpack_from(f"{order}{count}{code}", data, place)
        position += struct.calcsize("=" + entry) + inline
    return order, tags
