"""Folders and archives of jobs, and the images in them."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import records
from support.archives import pack

from byoc_vision.errors import DataError
from byoc_vision.report.images import inline
from byoc_vision.report.page import open_job, report_on
from byoc_vision.report.record import IMAGES_FOLDER
from byoc_vision.report.views.data import read_preflight


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job/output/data"
    records.barely_begun_job(folder)
    return folder


def test_a_folder_or_the_one_above(job: Path) -> None:
    for folder in (job, job.parent):
        with open_job(folder) as found:
            assert found == job


def test_a_folder_that_holds_only_the_archive(job: Path, tmp_path: Path) -> None:
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir()
    pack(job, downloaded / "output.tar.gz", ".")
    for _ in range(2):
        assert report_on([downloaded]) == downloaded / "report.html"
    assert "Interrupted" in (downloaded / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("inside", [".", "data"])
def test_an_archive_flat_or_nested(job: Path, tmp_path: Path, inside: str) -> None:
    archive = pack(job, tmp_path / "output.tar.gz", inside)
    with open_job(archive) as found:
        assert (found / "metrics.json").is_file()
    assert not found.exists()
    assert report_on([archive]) == tmp_path / "report.html"
    assert "Interrupted" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_source_without_a_job_is_named(job: Path, tmp_path: Path) -> None:
    records.barely_begun_job(tmp_path / "job/output/other")
    with (
        pytest.raises(DataError, match=r"output holds several jobs \(data, other\); name one of them"),
        open_job(job.parent),
    ):
        pass
    with (
        pytest.raises(DataError, match="nowhere does not exist; name a job's output/data folder"),
        open_job(tmp_path / "nowhere"),
    ):
        pass
    text = tmp_path / "notes.txt"
    text.write_text("nothing")
    with pytest.raises(DataError, match=r"notes\.txt is not an archive that is read"), open_job(text):
        pass
    broken = pack(job, tmp_path / "output.tar.gz", ".")
    broken.write_bytes(broken.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"output\.tar\.gz.* cannot be unpacked: it is cut short"), open_job(broken):
        pass


def test_nothing_is_unpacked_elsewhere(tmp_path: Path) -> None:
    archive = tmp_path / "output.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../evil.txt"), io.BytesIO())
    with (
        pytest.raises(DataError, match=r"output\.tar\.gz is not unpacked: \.\./\.\./evil\.txt leads out of the folder"),
        open_job(archive),
    ):
        pass


def test_data_that_could_not_be_listed_have_no_table(tmp_path: Path) -> None:
    (tmp_path / "preflight.json").write_text('{"schema_version": 1, "warnings": [], "errors": ["no images"]}')
    assert read_preflight(tmp_path) is None


def draw_image(folder: Path, name: str, height: int = 300, width: int = 400) -> int:
    """Its bytes; noise does not compress."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    path = folder / IMAGES_FOLDER / name
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path.stat().st_size


def decoded(url: str) -> np.ndarray:
    content = base64.b64decode(url.partition(",")[2])
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return np.asarray(found)


def test_images_stay_as_they_are_where_there_is_room(tmp_path: Path) -> None:
    draw_image(tmp_path, "a.jpg")
    images = inline(tmp_path, ["a.jpg", "a.jpg", "missing.jpg"], 10_000_000)
    assert list(images.urls) == ["a.jpg"]
    url = images.url("a.jpg")
    assert url
    assert base64.b64decode(url.partition(",")[2]) == (tmp_path / "pictures/a.jpg").read_bytes()
    assert images.url(None) is images.url("missing.jpg") is None


def test_images_shrink_before_any_is_left_out(tmp_path: Path) -> None:
    size = draw_image(tmp_path, "a.jpg") + draw_image(tmp_path, "b.png")
    images = inline(tmp_path, ["a.jpg", "b.png"], size // 3)
    assert images.left_out == 0
    assert sum(map(len, images.urls.values())) <= size // 3
    assert {decoded(url).shape for url in images.urls.values()} <= {(240, 320, 3), (180, 240, 3), (120, 160, 3)}
    few = inline(tmp_path, ["a.jpg", "b.png"], 12_000)
    assert (list(few.urls), few.left_out) == (["a.jpg"], 1)


def test_only_the_jobs_own_images_are_shown(tmp_path: Path) -> None:
    draw_image(tmp_path, "a.jpg")
    (tmp_path / "secret.jpg").write_bytes((tmp_path / "pictures/a.jpg").read_bytes())
    (tmp_path / "pictures/page.jpg").write_text("<script>")
    (tmp_path / "pictures/link.jpg").symlink_to(tmp_path / "secret.jpg")
    names = ["../secret.jpg", str(tmp_path / "secret.jpg"), "page.jpg", "link.jpg", "..", "a.jpg"]
    assert list(inline(tmp_path, names, 10_000_000).urls) == ["a.jpg"]
