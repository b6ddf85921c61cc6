"""NumPy files in memory: the good ones as NumPy reads them, the others refused."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from byoc_serve.npy import dump, view_uint8


@given(arrays(np.uint8, array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)), st.booleans())
def test_uint8_arrays_come_back(array: np.ndarray, fortran: bool) -> None:
    np.testing.assert_array_equal(view_uint8(dump(np.asarray(array, order="F" if fortran else "C"))), array)


def test_so_do_those_of_the_later_version() -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.eye(3, dtype=np.uint8), version=(2, 0))
    np.testing.assert_array_equal(view_uint8(file.getvalue()), np.eye(3))


def test_what_is_written_numpy_reads() -> None:
    array = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(np.load(io.BytesIO(dump(array)), allow_pickle=False), array)


@pytest.mark.parametrize("dtype", ["f4", "u2", "i1", "b1", "O", "U4", "M8[s]"])
def test_other_dtypes_are_refused_by_name(dtype: str) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros(4, dtype=dtype), allow_pickle=True)
    with pytest.raises(ValueError, match=r"dtype is .*, not uint8"):
        view_uint8(file.getvalue())


def content(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00\x01\x00{",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        content(b"{}"),
        content(b"(" * 5000),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 60000), }", b"few"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", b"few"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"three"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os').getcwd(), }"),
        content(b"{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,), }", b"x"),
    ],
)
def test_what_is_no_array_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|\.npy|declares"):
        view_uint8(bad)


def test_as_many_dimensions_as_numpy_has_of_length_zero_are_an_empty_array() -> None:
    huge = content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999999999, 999999999999999999, 0), }")
    with pytest.raises(ValueError, match="shape"):
        view_uint8(huge)


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    for file in (data, b"\x93NUMPY" + data, content(data)):
        with suppress(ValueError):
            view_uint8(file)
