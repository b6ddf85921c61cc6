"""Listing folders once, without what does not belong there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import touch

from byoc_vision.data.formats.scan import natural_key, scan
from byoc_vision.errors import InputError


def test_hidden_files_and_clutter_are_left_out(tmp_path: Path) -> None:
    folder = scan(
        touch(tmp_path, "b.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._b.jpg", ".git/a.png", "._b.jpg")
    )
    assert folder.files == ("b.jpg",)
    assert folder.folders == ()


def test_images_are_recognised_by_their_ending_at_any_depth(tmp_path: Path) -> None:
    folder = scan(touch(tmp_path, "10.JPG", "2.png", "notes.txt", "deep/er/x.tiff", "deep/y.webp", "deep/z.psd"))
    assert [str(path) for path in folder.images()] == ["2.png", "10.JPG", "deep/y.webp", "deep/er/x.tiff"]
    assert folder.image_names == ["2.png", "10.JPG"]
    assert not folder.is_empty


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    data = touch(tmp_path / "data", "real/a.jpg")
    (data / "linked").symlink_to(tmp_path / "elsewhere")
    touch(tmp_path / "elsewhere", "b.jpg")
    (data / "real" / "up").symlink_to(data)
    (tmp_path / "elsewhere" / "self").symlink_to(tmp_path / "elsewhere")
    assert [str(path) for path in scan(data).images()] == ["linked/b.jpg", "real/a.jpg"]


def test_no_folder_is_listed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    scandir = os.scandir

    def counting(path: str | Path) -> object:
        listed.append(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counting)
    folder = scan(touch(tmp_path, "a/1.jpg", "a/b/2.jpg", "c/3.jpg"))
    assert folder.has_images
    assert len(list(folder.images())) == 3
    assert len(listed) == len(set(listed)) == 4


def test_what_is_not_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone is not a folder"):
        scan(tmp_path / "gone")


def test_numbers_sort_by_value() -> None:
    assert sorted(["b10", "a", "b9", "B1", "10", "9"], key=natural_key) == ["9", "10", "a", "B1", "b9", "b10"]


@given(st.lists(st.text(max_size=8), unique=True))
def test_any_names_have_one_order(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == sorted(reversed(names), key=natural_key)


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(InputError, match=r"loop\.png cannot be read: Too many levels of symbolic links; remove it"):
        scan(tmp_path)


def test_a_pipe_is_named(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png is neither a file nor a folder; remove it"):
        scan(tmp_path)


def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(InputError, match=r"caf\\xe9': the name is not UTF-8; rename it"):
        scan(tmp_path)


def test_a_link_to_nothing_is_listed(tmp_path: Path) -> None:
    """It is named when it is read."""
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    assert scan(tmp_path).files == ("gone.png",)
