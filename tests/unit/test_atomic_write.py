"""Files that take their place whole, with the mode that any other file of the process has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.modes import mode, umask

from byoc_vision.atomic_write import renamed_into_place, write_csv, write_whole


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_mode_that_the_umask_gives(tmp_path: Path, mask: int, expected: int) -> None:
    """Also one of safetensors, which makes its files private."""
    with umask(mask):
        write_whole(tmp_path / "text", "text")
        with renamed_into_place(tmp_path / "tensors") as beside:
            save_file({"a": torch.zeros(1)}, beside)
    assert (mode(tmp_path / "text"), mode(tmp_path / "tensors")) == (expected, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tensors", "text"]


def test_what_was_not_written_whole_leaves_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("before")

    def fail() -> None:
        with renamed_into_place(tmp_path / "text") as beside:
            beside.write_text("aft")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
    assert (tmp_path / "text").read_text() == "before"


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "t.csv", ["file", "=class"], [["=1+1", "-1"], ["@SUM(A1)", "+1.5"], ["-x", -1], ["a=b", "\tx"]]
    )
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "file,'=class",
        "'=1+1,-1",
        "'@SUM(A1),+1.5",
        "'-x,-1",
        "a=b,'\tx",
    ]
