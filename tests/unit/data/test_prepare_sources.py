"""Folders and archives side by side, as one tree of channels."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from support.trees import touch

from byoc_vision.data.prepare import lay_out
from byoc_vision.errors import DataError, InputError


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def archive(folder: Path, name: str, *files: str, kind: str = "zip") -> Path:
    """An archive `folder`/`name` of empty files."""
    tree = touch(folder / f"{name}-tree", *files)
    made = Path(shutil.make_archive(str(folder / name), kind, tree))
    shutil.rmtree(tree)
    return made


def listed(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def test_a_single_folder_is_read_where_it_is(tmp_path: Path, scratch: Path) -> None:
    folder = touch(tmp_path / "pets", "images/1.jpg", "annotations/list.txt")
    assert lay_out([folder], scratch) == {"train": folder}
    assert not scratch.exists()


def test_archives_unpack_side_by_side(tmp_path: Path, scratch: Path) -> None:
    images = archive(tmp_path, "images", "images/1.jpg", kind="gztar")
    annotations = archive(tmp_path, "annotations", "annotations/list.txt")
    assert lay_out([images, annotations], scratch) == {"train": scratch}
    assert listed(scratch) == {"images/1.jpg", "annotations/list.txt"}


def test_several_folders_stand_by_their_names(tmp_path: Path, scratch: Path) -> None:
    images = touch(tmp_path / "here/images", "1.jpg")
    annotations = touch(tmp_path / "there/annotations", "list.txt")
    lay_out([images, annotations], scratch)
    assert (scratch / "images").resolve() == images
    assert (scratch / "annotations/list.txt").is_file()


def test_a_file_beside_an_archive(tmp_path: Path, scratch: Path) -> None:
    images = archive(tmp_path, "pictures", "1.jpg")
    table = touch(tmp_path, "labels.csv") / "labels.csv"
    lay_out([images, table], scratch)
    assert (scratch / "labels.csv").resolve() == table
    assert (scratch / "1.jpg").is_file()


def test_a_folder_of_archives(tmp_path: Path, scratch: Path) -> None:
    folder = touch(tmp_path / "downloads", "list.txt", "notes/a.txt", ".hidden")
    archive(folder, "images", "images/1.jpg")
    lay_out([folder], scratch)
    assert (scratch / "images/1.jpg").is_file()
    assert (scratch / "notes/a.txt").is_file()
    assert sorted(path.name for path in scratch.iterdir()) == ["images", "list.txt", "notes"]


@pytest.mark.parametrize("below", ["", "challenge/"])
def test_archives_in_an_archive(below: str, tmp_path: Path, scratch: Path) -> None:
    inner = archive(tmp_path, "train", "train/1.jpg")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.write(inner, f"{below}train.zip")
        file.writestr(f"{below}metadata.csv", "")
    lay_out([tmp_path / "all.zip"], scratch)
    assert listed(scratch) == {f"{below}train/1.jpg", f"{below}metadata.csv"}


def test_what_carvana_never_reads_is_not_unpacked(tmp_path: Path, scratch: Path) -> None:
    whole = archive(tmp_path, "all", "train/1.jpg", "test/2.jpg", "train_hq/1.jpg", "test_hq.zip", "metadata.csv")
    lay_out([whole], scratch, "carvana")
    assert listed(scratch) == {"train/1.jpg", "metadata.csv"}


def test_lists_that_are_channels(tmp_path: Path, scratch: Path) -> None:
    folder = touch(tmp_path / "data", "train/1.jpg", "train_lst/train.lst", "notes/a.txt")
    assert lay_out([folder], scratch) == {"train": folder / "train", "train_lst": folder / "train_lst"}


def test_a_stray_image_beside_the_channels(tmp_path: Path, scratch: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = touch(tmp_path / "data", "train/1.jpg", "train_masks/1.gif", "stray.jpg")
    assert lay_out([folder], scratch) == {"train": folder / "train", "train_masks": folder / "train_masks"}
    assert "stray.jpg lies beside the channels" in caplog.text


def test_classes_of_such_names_are_not_channels(tmp_path: Path, scratch: Path) -> None:
    folder = touch(tmp_path / "data", "train/1.jpg", "plane/1.jpg", "stray.jpg")
    assert lay_out([folder], scratch) == {"train": folder}


def test_a_source_that_is_missing(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.zip does not exist; a source is a folder or an archive \(\.zip"):
        lay_out([tmp_path / "gone.zip"], scratch)


def test_two_sources_of_one_name(tmp_path: Path, scratch: Path) -> None:
    folders = [touch(tmp_path / side / "images", "1.jpg") for side in ("a", "b")]
    with pytest.raises(InputError, match="would both be images; rename one"):
        lay_out(folders, scratch)


def test_a_file_of_another_kind(tmp_path: Path, scratch: Path) -> None:
    touch(tmp_path, "data.zip")
    with pytest.raises(DataError, match=r"data\.zip is not an archive that is read \(it is empty\)"):
        lay_out([tmp_path / "data.zip"], scratch)
