"""Small images: drawn, as files, and as the content of files."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def draw_scene(seed: int, width: int = 48, height: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 RGB [height, width, 3], and where its ellipse is, bool [height, width].

    The colour of the ellipse follows from seed % 7, all else from the seed.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    y, x = random.uniform(0.35, 0.65, 2) * (height, width)
    inside = ((rows - y) / (height * 0.3)) ** 2 + ((columns - x) / (width * 0.3)) ** 2 < 1
    image = random.integers(90, 140, (height, width, 3)).astype(np.uint8)
    hue = seed % 7 + 1
    image[inside] = [230 if hue & bit else 20 for bit in (1, 2, 4)]
    return image, inside


def draw_noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random colours, uint8 RGB [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def draw_smooth(height: int = 40, width: int = 56) -> np.ndarray:
    """Colours that change slowly from 0 to 255, as JPEG keeps them: uint8 RGB [height, width, 3]."""
    return cv2.normalize(cv2.GaussianBlur(draw_noise(height, width), (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def save_image(path: Path, pixels: np.ndarray, kind: str | None = None) -> Path:
    """uint8 [H, W, 3] or [H, W] as a file; its kind follows from the name unless it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, kind)
    return path


def save_grey(path: Path, value: int = 90) -> Path:
    """An even grey of 6 x 8 pixels as a file."""
    return save_image(path, np.full((6, 8), value, np.uint8))


def heic_ramp() -> bytes:
    """A HEIC file of 64 × 48 pixels: red grows to the right, green downwards. Made with pillow-heif 1.4 and x265."""
    return base64.b64decode(
        "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
        "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAHYAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
        "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
        "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
        "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
        "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAH5tZGF0AAAAcigBrxOA9UU941XWAexuZ+abHaCuKtg9nMu59L3O"
        "wsF3RbtSQHi9b/IlW5EXUE+PP4uv4QYWyy22y4Wd3VPSq65ZP4vkZ1+FP7r6gyeaO/QwxBpBpDm5/pnmQXODC51ktn4qctSbWwCD"
        "GrlJ7OWgGwceSg=="
    )


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """An image, as an array uint8 [H, W, 3] or [H, W] or as Pillow's, as the content of a file of this kind."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def handmade_png(
    header: tuple[int, int, int, int], rows: bytes, *after: tuple[bytes, bytes], palette: bytes = b""
) -> bytes:
    """A PNG with a header of our choice, which Pillow might not write.

    header: (width, height, bits, colour type). rows: the filtered rows. after: chunks behind the pixels.
    """
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)),
        *([(b"PLTE", palette)] if palette else []),
        (b"IDAT", zlib.compress(rows)),
        *after,
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def decode(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def load_npy(content: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array
