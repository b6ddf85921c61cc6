"""Lists are read by line, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc_vision.data.formats.lists import Line, Row, noting, read_head, read_lines, read_rows, read_text
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


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_rows_of_tables_have_their_place(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "table.csv"
    lines = ["\ufeffimage,label", "", '"a, b; c|d.jpg",', "1.jpg"]
    path.write_text("\r\n".join(line.replace(",", separator) for line in lines), encoding="utf-8", newline="")
    header, first, short = read_rows(path)
    assert header == Row(f"{path}, line 1", ["image", "label"])
    assert (first.place, first.cell(1), first.cell(None)) == (f"{path}, line 3", None, None)
    assert first.cells[0] == "a, b; c|d.jpg".replace(",", separator)
    assert (short.cell(0), short.cell(1)) == ("1.jpg", None)


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"image,label\n1.jpg,caf\xe9")
    with pytest.raises(DataError, match=r"table\.csv is not UTF-8 text \(byte 21\)"):
        list(read_rows(path))
    path.write_text("image,rle\n1.jpg," + "1 2 " * 50_000)
    with pytest.raises(DataError, match=r"table\.csv, line 2: not a CSV file"):
        list(read_rows(path))
    assert len(list(read_rows(path, longest=10**6))) == 2


def test_the_problems_of_lines_are_collected(tmp_path: Path) -> None:
    problems: list[str] = []
    for number, text in enumerate(["1", "one", "2", "two"]):
        with noting(problems, f"line {number}"):
            int(text)
    assert [problem.partition(":")[0] for problem in problems] == ["line 1", "line 3"]
    assert read_head(tmp_path / "gone", 4) == b""
