"""NumPy's file format in memory. Source: numpy.lib.format, "Format Version 1.0" to "3.0".

NumPy's own reader of arrays allocates what a header declares before it looks at the data: fine for one's own files,
not for requests. Its reader of headers has a limit of size, and is used here; nothing is allocated for the array,
which is a view of the request's body.
"""

from __future__ import annotations

import tokenize
from io import BytesIO
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy_format

MAGIC = npy_format.MAGIC_PREFIX

_MAX_HEADER = 1024  # bytes before the data; NumPy writes 128 for arrays of up to eight dimensions
# Raised by `ast.literal_eval`, the tokenizer for headers of Python 2, and `numpy.dtype` on invalid headers.
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    SyntaxError,
    RecursionError,
    MemoryError,  # of Python's parser, for too deep a nesting
    tokenize.TokenError,
)


DTYPES = tuple(map(np.dtype, ("u1", "u2", "i2", "f4", "f8")))  # of pixels; in this machine's byte order


def view_pixels(content: bytes) -> np.ndarray:
    """As `view`. Raises ValueError also if the array is not of one of `DTYPES`, or has no elements."""
    header = _read_header(content)
    if header.dtype not in DTYPES:
        known = " or ".join(str(known) for known in DTYPES)
        raise ValueError(f"the array's dtype is {header.dtype}, not {known}")
    if any(length <= 0 for length in header.shape):
        raise ValueError(f"the array is empty: its shape is {_shown(header.shape)}")
    return _view(content, header)


def view(content: bytes) -> np.ndarray:
    """The array that the content of a .npy file holds, without a copy.

    Raises ValueError if it is not such a file, is not as long as it declares, or holds Python objects: to read those is
    to execute code that they name.
    """
    return _view(content, _read_header(content))


def _view(content: bytes, header: _Header) -> np.ndarray:
    shape, fortran, dtype, start = header
    if dtype.hasobject:
        raise ValueError("the array holds Python objects, which are never read; send an array of numbers")
    size = len(content) - start
    if any(length < 0 for length in shape) or prod(shape) * dtype.itemsize != size:
        raise ValueError(f"the array declares the shape {_shown(shape)} and holds {size:,} bytes")
    flat = np.frombuffer(content, dtype, count=prod(shape), offset=start) if size else np.empty(prod(shape), dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def dump(array: np.ndarray) -> bytes:
    """An array as the content of a .npy file."""
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


class _Header(NamedTuple):
    """fortran: whether the order is Fortran's. start: where the data begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    start: int


def _read_header(content: bytes) -> _Header:
    """Raises ValueError."""
    if not content.startswith(MAGIC):
        raise ValueError("the body is not a .npy file")
    file = BytesIO(content[:_MAX_HEADER])
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(file, max_header_size=_MAX_HEADER)
        elif version in ((2, 0), (3, 0)):  # they differ in the encoding of field names, which these do not have
            shape, fortran, dtype = npy_format.read_array_header_2_0(file, max_header_size=_MAX_HEADER)
        else:
            raise ValueError(f"its version is {version}")
    except _UNREADABLE as error:
        raise ValueError(
            f"the array's header cannot be read in {_MAX_HEADER:,} bytes; write the file with numpy.save"
        ) from error
    return _Header(tuple(map(int, shape)), fortran, dtype, file.tell())


def _shown(shape: tuple[int, ...]) -> str:
    text = str(list(shape))
    return text if len(text) <= 100 else f"{text[:100]}…"
