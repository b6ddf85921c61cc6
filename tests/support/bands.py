"""Images with bands, as satellites take them: drawn, and written as TIFF in the layouts that programs write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def draw_bands(seed: int, bands: int = 4, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint16 [side, side, bands] of values to 3000, and where its field is, bool [side, side].

    Only the last band shows the field.
    """
    random = np.random.default_rng(seed)
    image = random.integers(300, 900, (side, side, bands)).astype(np.uint16)
    inside = np.zeros((side, side), bool)
    top, left = random.integers(2, side // 2, 2)
    inside[top : top + side // 2, left : left + side // 2] = True
    image[inside, -1] += 2000
    return image, inside


def tiff(
    pixels: np.ndarray,
    *,
    order: str = "<",
    deflate: bool = False,
    predictor: int = 1,
    planar: bool = False,
    rows: int = 8,
) -> bytes:
    """A TIFF file of [H, W, bands] in strips of so many rows, without alpha."""
    height, width, bands = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    parts = [pixels[..., [band]] for band in range(bands)] if planar else [pixels]
    strips = []
    for part in parts:
        for top in range(0, height, rows):
            strip = part[top : top + rows]
            if predictor == 2:
                strip = np.diff(strip, axis=1, prepend=np.zeros_like(strip[:, :1]))
            content = strip.astype(strip.dtype.newbyteorder(order)).tobytes()
            strips.append(zlib.compress(content) if deflate else content)
    values: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8 * pixels.dtype.itemsize] * bands),
        259: ("H", [8 if deflate else 1]), 262: ("H", [1]), 273: ("I", [0] * len(strips)), 277: ("H", [bands]),
        278: ("I", [rows]), 279: ("I", [len(strip) for strip in strips]), 284: ("H", [2 if planar else 1]),
        317: ("H", [predictor]), 338: ("H", [0] * max(bands - 1, 1)), 339: ("H", [kind] * bands),
    }  # fmt: skip
    start = 8 + 2 + 12 * len(values) + 4
    room = sum(size for code, numbers in values.values() if (size := struct.calcsize("=" + code) * len(numbers)) > 4)
    place = start + room
    for index, strip in enumerate(strips):
        values[273][1][index] = place
        place += len(strip)
    entries, more = b"", b""
    for tag, (code, numbers) in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(packed) > 4:
            inline = struct.pack(order + "I", start + len(more))
            more += packed
        else:
            inline = packed.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, 3 if code == "H" else 4, len(numbers)) + inline
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(values))
    return head + entries + bytes(4) + more + b"".join(strips)


def write_band_scenes(folder: Path, count: int, first: int = 0, bands: int = 4) -> None:
    """images/ with TIFF files of uint16 and masks/ with 0 and 1."""
    from support.images import save_image

    for number in range(first, first + count):
        image, inside = draw_bands(number, bands)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{number}.tif").write_bytes(
            tiff(image, deflate=number % 2 == 0, predictor=1 + number % 2)
        )
        save_image(folder / "masks" / f"{number}.png", inside.astype(np.uint8))
