"""NumPy files in memory: the good ones as NumPy reads them, the others refused."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from byoc_serve.npy import dump, view_pixels


@given(arrays(np.uint8, array_shapes(min_dims=0, max_dims=5, min_side=1, max_side=5)), st.booleans())
def test_uint8_arrays_come_back(array: np.ndarray, fortran: bool) -> None:
    np.testing.assert_array_equal(view_pixels(dump(np.asarray(array, order="F" if fortran else "C"))), array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_so_do_floats(dtype: type) -> None:
    array = np.linspace(0, 1, 12, dtype=dtype).reshape(3, 4)
    np.testing.assert_array_equal(view_pixels(dump(array)), array)


def test_so_do_those_of_the_later_version() -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.eye(3, dtype=np.uint8), version=(2, 0))
    np.testing.assert_array_equal(view_pixels(file.getvalue()), np.eye(3))


def test_what_is_written_numpy_reads() -> None:
    array = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(np.load(io.BytesIO(dump(array)), allow_pickle=False), array)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "u4", "i1", "b1", "O", "U4", "M8[s]"])
def test_other_dtypes_are_refused_by_name(dtype: str) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros(4, dtype=dtype), allow_pickle=True)
    with pytest.raises(ValueError, match=r"dtype is .*, not uint8 or uint16"):
        view_pixels(file.getvalue())


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
        content(b"{[]: 1}"),
        content(b"{1: 1, 'a': 2}"),
        content(b"-" * 900 + b"1"),
        content(b"[" * 900),
        content(b'"""'),
        content(b"\n 1\n2"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (" + b"1 " * 400 + b"x), }"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (" + b"1" * 50 + b"x), }"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (" + b"1" * 900 + b",), }"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -5), }", b"12345"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", b"1234567"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }" + b" " * 2000, b"123456"),
        content(b"{'descr': ('|u1', (99999, 99999)), 'fortran_order': False, 'shape': (1,), }", b"x"),
        content(b"(" * 5000),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 60000), }", b"few"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", b"few"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"three"),
        content(b"{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os').getcwd(), }"),
        content(b"{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,), }", b"x"),
    ],
)
def test_what_is_not_an_array_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|\.npy|declares|dtype|empty"):
        view_pixels(bad)


@pytest.mark.parametrize("shape", ["(60000000, 0, 5, 3)", "(0,)", f"({10**18}, {10**18}, 0)", "(0, -1)"])
def test_an_array_without_elements_is_refused_from_its_header(shape: str) -> None:
    """A list of 60 million empty images would take 6 GB."""
    with pytest.raises(ValueError, match="the array is empty"):
        view_pixels(content(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()))


def test_more_dimensions_than_numpy_has_are_refused() -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (" + b"1," * 200 + b"), }"
    with pytest.raises(ValueError, match="dimension"):
        view_pixels(content(header, b"x"))


def test_a_file_of_python_2_is_read() -> None:
    with pytest.warns(UserWarning, match="Python 2"):
        array = view_pixels(content(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 3L), }", b"123456"))
    assert array.shape == (2, 3)


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    for file in (data, b"\x93NUMPY" + data, content(data)):
        with suppress(ValueError):
            view_pixels(file)
