"""Encodes predictions: masks as PNG and in COCO's run-length encoding, classes as JSON objects."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from zlib_ng import zlib_ng

from byoc_vision.inference.predictor import Classification

DECIMALS = 6  # of numbers in JSON

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Bit depth, colour type, compression, filter method, interlace.
_GREY_8_BIT = (8, 0, 0, 0, 0)
_PALETTE_8_BIT = (8, 3, 0, 0, 0)
_QUICKLY = 1  # zlib's level
_FEW = 16  # classes: so many are counted one by one
_COUNTED = 2**24  # pixels at a time: OpenCV counts in float32, which is exact up to this number


def encode_png(mask: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """A mask, uint8 [H, W], as a single-channel 8-bit PNG with the same values.

    palette: the display colour of each value, uint8 [1 … 256, 3] RGB; without it the PNG is grey.

    Masks are long runs of one value: deflate that only searches for runs (Z_RLE) is faster than OpenCV's
    writer and gives smaller files; zlib-ng is several times as fast as zlib.
    Source: PNG specification (ISO/IEC 15948), RFC 1950.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 [H, W], not {mask.dtype} {list(mask.shape)}")
    height, width = mask.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row starts with its filter type: 0 means none
    rows[:, 1:] = mask
    deflate = zlib_ng.compressobj(level=1, strategy=zlib_ng.Z_RLE)
    pixels = deflate.compress(rows.data) + deflate.flush()
    header = struct.pack(">II5B", width, height, *(_GREY_8_BIT if palette is None else _PALETTE_8_BIT))
    colours = b"" if palette is None else _chunk(b"PLTE", palette.tobytes())
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), colours, _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")))


def encode_rgb_png(rgb: np.ndarray) -> bytes:
    """An image for people, uint8 RGB [H, W, 3], as PNG; optimised for speed, not for size."""
    written, encoded = cv2.imencode(
        ".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, _QUICKLY]
    )
    assert written, "OpenCV encodes every uint8 array as PNG"
    return encoded.tobytes()


def encode_jpeg(rgb: np.ndarray, quality: int = 90) -> bytes:
    """An image, uint8 RGB [H, W, 3], as JPEG. quality: 1–100."""
    written, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert written, "OpenCV encodes every uint8 array as JPEG"
    return encoded.tobytes()


def class_entries(prediction: Classification) -> list[dict[str, Any]]:
    """`{"label", "score"}` of every class, best first; with `"present"` if an image can have several classes."""
    ranked = prediction.ranked()
    entries: list[dict[str, Any]] = [{"label": label, "score": round(score, DECIMALS)} for label, score in ranked]
    if prediction.threshold is not None:
        for entry, (_, score) in zip(entries, ranked, strict=True):
            entry["present"] = score > prediction.threshold
    return entries


def class_shares(labels: np.ndarray, count: int) -> list[float]:
    """Each class's share of a mask's pixels, rounded for JSON and tables. labels: class indices, uint8 [H, W]."""
    pixels = labels.reshape(-1)
    total = np.zeros(count, np.int64)
    for start in range(0, pixels.size, _COUNTED):
        total += _count(pixels[start : start + _COUNTED], count)
    return [round(share, DECIMALS) for share in (total / pixels.size).tolist()]


def encode_rles(labels: np.ndarray, count: int) -> list[str]:
    """Class indices, uint8 [H, W], as one compressed COCO RLE for each of the classes 0 … count - 1.

    Each string is the `counts` of pycocotools; `pycocotools.mask.decode` needs it and `size` = [H, W].
    Source: cocoapi, common/maskApi.c, rleEncode and rleToString.
    """
    columns = cv2.transpose(labels).reshape(-1)  # COCO counts down the columns
    starts = np.concatenate(([0], np.flatnonzero(columns[1:] != columns[:-1]) + 1))
    ends = np.append(starts[1:], columns.size)
    run_labels = columns[starts]
    order = np.argsort(run_labels, kind="stable")
    bounds = np.searchsorted(run_labels[order], np.arange(count + 1))
    rles = []
    for first, last in pairwise(bounds):
        own = order[first:last]
        edges = np.stack([starts[own], ends[own]], axis=1).reshape(-1)
        rles.append(_rle_text(_run_lengths(edges, columns.size)))
    return rles


def _count(pixels: np.ndarray, count: int) -> np.ndarray:
    """The number of pixels of each class, int64 [count]; both ways are much faster than NumPy's bincount."""
    if count <= _FEW:
        return np.array([np.count_nonzero(pixels == index) for index in range(count)], np.int64)
    return cv2.calcHist([pixels], [0], None, [count], [0, count]).reshape(-1).astype(np.int64)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def _run_lengths(edges: np.ndarray, size: int) -> np.ndarray:
    """The lengths of a mask's runs from the positions of its changes: off, on, off, … Only the first can be 0."""
    if edges.size and edges[-1] == size:
        edges = edges[:-1]
    return np.diff(edges, prepend=0, append=size)


def _rle_text(lengths: np.ndarray) -> str:
    """Run lengths as COCO's text.

    From the fourth on, a length is stored as the difference from the length two before it. A character holds five bits,
    least significant first, and a sixth bit if more follow, plus 48.
    """
    rest = lengths.astype(np.int64)
    rest[3:] -= lengths[1:-2]
    characters = []
    more = np.ones(len(rest), dtype=bool)
    while more.any():
        low = rest & 0x1F
        rest >>= 5
        stop = np.where(low & 0x10, rest == -1, rest == 0)  # only the sign is left
        # 0 means "no character": COCO's characters start at 48.
        characters.append(np.where(more, np.where(stop, low, low | 0x20) + 48, 0).astype(np.uint8))
        more &= ~stop
    text = np.stack(characters, axis=1).reshape(-1)
    return str(text[text != 0].tobytes(), "ascii")
