"""Small images as files hold them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def encode(rgb: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """An image, uint8 [H, W, 3] or [H, W], as the content of a file of this kind."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, kind, **options)
    return file.getvalue()


def decode(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def load_npy(content: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array
