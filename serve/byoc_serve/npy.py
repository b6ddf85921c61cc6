"""NumPy's file format in memory. Source: numpy.lib.format, "Format Version 1.0" to "3.0".

NumPy's own reader allocates what a header declares before it looks at the data, and evaluates the header
as a Python literal: fine for one's own files, not for requests.
"""

from __future__ import annotations

import re
from io import BytesIO
from math import prod

import numpy as np

MAGIC = b"\x93NUMPY"

_MAX_HEADER = 10_000
_HEADER = re.compile(
    rb"\s*\{\s*'descr':\s*'(?P<dtype>[^']{1,20})',\s*'fortran_order':\s*(?P<fortran>True|False),"
    rb"\s*'shape':\s*\((?P<shape>(?:\s*\d{1,18}\s*,?){0,8})\)\s*,?\s*\}\s*"
)
_UINT8 = re.compile(rb"[|<>=]?u1")


def view_uint8(content: bytes) -> np.ndarray:
    """The uint8 array that the content of a .npy file holds, without a copy.

    Raises ValueError where it is no such file, has another dtype, or is cut short.
    """
    start, header = _split(content)
    found = _HEADER.fullmatch(header)
    if found is None:
        raise ValueError("the array's header cannot be read")
    if not _UINT8.fullmatch(found["dtype"]):
        raise ValueError(f"the array's dtype is {found['dtype'].decode('latin-1')!r}, not uint8")
    shape = tuple(int(length) for length in re.findall(rb"\d+", found["shape"]))
    size = len(content) - start
    if prod(shape) != size:
        raise ValueError(f"the array declares the shape {list(shape)} and holds {size:,} bytes")
    flat = np.frombuffer(content, np.uint8, offset=start) if size else np.empty(0, np.uint8)
    return flat.reshape(shape[::-1]).T if found["fortran"] == b"True" else flat.reshape(shape)


def dump(array: np.ndarray) -> bytes:
    """An array as the content of a .npy file."""
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _split(content: bytes) -> tuple[int, bytes]:
    """Where the data start, and the header before them."""
    version = content[6:7]
    if not content.startswith(MAGIC) or version not in (b"\x01", b"\x02", b"\x03"):
        raise ValueError("the body is no .npy file")
    width = 2 if version == b"\x01" else 4
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    if start > min(len(content), _MAX_HEADER):
        raise ValueError("the array's header is cut short")
    return start, content[8 + width : start]
