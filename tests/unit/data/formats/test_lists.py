"""Lists are read by line, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc_vision.data.formats.lists import Line, read_lines, read_text
from byoc_vision.errors import DataError


def test_lines_have_their_place(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff# Image\r\n\r\n a b \r\nc".encode())
    assert list(read_lines(path)) == [Line(f"{path}, line 3", "a b"), Line(f"{path}, line 4", "c")]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.txt cannot be read: No such file"):
        read_text(tmp_path / "gone.txt")
    (tmp_path / "latin.txt").write_bytes("Löwe".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt is not UTF-8 text \(byte 1\); save it as UTF-8"):
        read_text(tmp_path / "latin.txt")
