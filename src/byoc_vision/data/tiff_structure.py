"""What a TIFF file declares, checked before it is decoded.

A decoder prepares each strip or tile that the file declares. A file of 6 MB can declare 700,000, which takes 20 seconds
for an image of ten pixels. Source: TIFF 6.0 (1992), sections 2, 8 and 15; BigTIFF.
"""

from __future__ import annotations

import struct

MAX_PARTS = 65_536  # strips or tiles: an image of 178 megapixels in tiles of 64 × 64 has 43,700
MAX_TAGS = 4_096

_WIDTH, _HEIGHT, _ORIENTATION, _SAMPLES, _ROWS, _PLANES = 256, 257, 274, 277, 278, 284
_STRIPS, _TILES, _TILE_WIDTH, _TILE_HEIGHT = 273, 324, 322, 323
_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of the types that sizes have
_SEPARATE = 2  # planes: each sample has strips of its own

Tags = dict[int, tuple[int, int | None]]  # tag → number of values, the first if it stands in the directory


def read_tags(data: bytes) -> Tags:
    """The first directory; empty if it is damaged, which the decoder reports better.

    Raises ValueError if it declares more than `MAX_TAGS` tags, or more than `MAX_PARTS` strips or tiles.
    """
    try:
        tags = _first_directory(data)
    except struct.error:
        return {}
    if (count := _declared_parts(tags) or 0) > MAX_PARTS:
        raise ValueError(f"it has {count:,} strips or tiles, more than {MAX_PARTS:,}; save it with larger ones")
    return tags


def check_parts(tags: Tags) -> None:
    """Raises ValueError if the number of strips or tiles is not the one that the image's size needs."""
    declared, needed = _declared_parts(tags), _needed_parts(tags)
    if declared is not None and needed is not None and declared != needed:
        raise ValueError(f"it has {declared:,} strips or tiles, and its size needs {needed:,}")


def orientation(tags: Tags) -> int:
    """1–8, as in EXIF."""
    value = tags.get(_ORIENTATION, (1, 1))[1] or 1
    return value if value in range(1, 9) else 1


def upright_size(tags: Tags) -> tuple[int, int]:
    """Height and width, after the orientation is applied."""
    height, width = (tags.get(tag, (1, 0))[1] or 0 for tag in (_HEIGHT, _WIDTH))
    return (width, height) if orientation(tags) >= 5 else (height, width)


def _declared_parts(tags: Tags) -> int | None:
    tag = _TILES if _TILES in tags else _STRIPS
    return tags[tag][0] if tag in tags else None


def _needed_parts(tags: Tags) -> int | None:
    def value(tag: int, default: int | None = None) -> int | None:
        return tags[tag][1] if tag in tags else default

    width, height = value(_WIDTH), value(_HEIGHT)
    if _TILES in tags:
        across, down = value(_TILE_WIDTH), value(_TILE_HEIGHT)
    else:
        across, down = width, value(_ROWS, height)
    if not width or not height or not across or not down:
        return None
    planes = (value(_SAMPLES, 1) or 1) if value(_PLANES) == _SEPARATE else 1
    return -(-width // across) * -(-height // down) * planes


def _first_directory(data: bytes) -> Tags:
    """Raises struct.error if the file is too short, ValueError if there are too many tags."""
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    if version == 43:  # BigTIFF
        (start,) = struct.unpack_from(order + "Q", data, 8)
        head, entry, inline = order + "Q", order + "HHQ", 8
    else:
        (start,) = struct.unpack_from(order + "I", data, 4)
        head, entry, inline = order + "H", order + "HHI", 4
    if start >= len(data):
        raise struct.error("the directory is outside of the file")
    (count,) = struct.unpack_from(head, data, start)
    if count > MAX_TAGS:
        raise ValueError(f"it has {count:,} tags, more than {MAX_TAGS:,}")
    tags: Tags = {}
    position = start + struct.calcsize(head)
    for _ in range(count):
        tag, kind, values = struct.unpack_from(entry, data, position)
        position += struct.calcsize(entry)
        code = _FORMATS.get(kind)
        fits = code is not None and values == 1 and struct.calcsize(order + str(code)) <= inline
        tags[tag] = (values, struct.unpack_from(order + str(code), data, position)[0] if fits else None)
        position += inline
    return tags
