"""Large images and their masks as overlapping tiles."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.cli import main
from byoc_vision.data import tile as tiling
from byoc_vision.data.preflight import find_and_check, inspect
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.tile import tile_starts

HEIGHT, WIDTH = 100, 150


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images to train on and one to validate, each with one object of 8 × 8 pixels in its upper left corner."""
    draw = np.random.default_rng(0)
    for split, names in {"train": ("a", "b"), "validation": ("c",)}.items():
        for folder in (split, f"{split}_annotation"):
            (tmp_path / "data" / folder).mkdir(parents=True)
        for name in names:
            image = draw.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[4:12, 4:12] = 1
            mask[0:2, 100:102] = 255
            cv2.imwrite(str(tmp_path / "data" / split / f"{name}.png"), image)
            cv2.imwrite(str(tmp_path / "data" / f"{split}_annotation" / f"{name}.png"), mask)
    return tmp_path / "data"


def lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 pixels instead of 178,956,970, which would take a gigabyte."""
    monkeypatch.setitem(inspect.__kwdefaults__, "max_pixels", 10_000)
    monkeypatch.setattr(tiling, "MAX_PIXELS", 10_000)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pixels(path: Path) -> np.ndarray:
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read is not None
    return read


@given(st.integers(1, 3000), st.integers(32, 500), st.integers(0, 31))
def test_tiles_cover_a_side_and_overlap(length: int, size: int, overlap: int) -> None:
    starts = tile_starts(length, size, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - size)
    assert all(0 < later - earlier <= size - overlap + 1 for earlier, later in pairwise(starts))


def test_pairs_stay_pairs_and_splits_stay_splits(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiles"
    assert main(["tile", str(data), "--output", str(output), "--size", "64", "--overlap", "16", "--keep-empty"]) == 0
    assert names(output) == ["train", "train_annotation", "validation", "validation_annotation"]
    images = [name for name in names(output / "train") if name.endswith(".png")]
    assert images == names(output / "train_annotation")
    assert len(images) == 2 * 2 * 3
    for split, name in (("train", "a"), ("train", "b"), ("validation", "c")):
        for folder in (split, f"{split}_annotation"):
            whole = pixels(data / folder / f"{name}.png")
            for path in (output / folder).glob(f"{name}_*.png"):
                top, left = (int(part[1:]) for part in path.stem.split("_")[1:])
                assert np.array_equal(pixels(path), whole[top : top + 64, left : left + 64])
    checked = find_and_check({path.name: path for path in output.iterdir()}, DataOptions())
    assert checked.report.errors == []
    assert checked.report.samples == {"train": 12, "validation": 6}


def test_training_tiles_without_an_object_are_left_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tiles"
    assert main(["tile", str(data), "--output", str(output), "--size", "64"]) == 0
    assert names(output / "train_annotation") == ["a_y00000_x00000.png", "b_y00000_x00000.png"]
    assert len(names(output / "validation_annotation")) == 6, "metrics are those of whole images"
    assert "train: 2 images → 2 tiles, 10 without an object left out" in capsys.readouterr().out


def test_named_classes_stay_named(data: Path, tmp_path: Path) -> None:
    classes = {"classes": [{"name": "ground", "value": 0}, {"name": "house", "value": 1}], "ignore_value": 255}
    for split in ("train", "validation"):
        (data / split / "classes.json").write_text(json.dumps(classes))
    output = tmp_path / "tiles"
    assert main(["tile", str(data), "--output", str(output), "--size", "64"]) == 0
    assert json.loads((output / "train/classes.json").read_text()) == classes
    assert len(list((output / "train").glob("*.png"))) == 2, "what is ignored is not an object"


def test_an_image_above_the_limit_of_training_is_cut(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lower_limit(monkeypatch)
    assert main(["check", str(data)]) == 3
    log = capsys.readouterr().out
    assert "a.png declares 150 × 100 pixels, more than the 10,000 allowed; cut it into tiles: byoc-vision tile" in log
    assert main(["tile", str(data), "--output", str(tmp_path / "tiles"), "--size", "64"]) == 0
    assert main(["check", str(tmp_path / "tiles")]) == 0


def test_an_image_larger_than_the_memory_is_refused_by_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lower_limit(monkeypatch)
    monkeypatch.setattr(tiling, "free_memory", lambda: 12 * 14_000)
    assert main(["tile", str(data), "--output", str(tmp_path / "tiles")]) == 3
    log = capsys.readouterr().out
    assert "a.png declares 150 × 100 pixels, more than the 14,000 allowed; that is what the free memory of this" in log
    assert names(tmp_path) == ["data"], "nothing is left"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--size", "16"], "--size 16 is too small"),
        (["--size", "64", "--overlap", "64"], "--overlap 64 must be from 0 to below --size 64"),
    ],
)
def test_sizes_that_make_no_tiles(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert main(["tile", str(data), "--output", str(tmp_path / "tiles"), *arguments]) == 2
    assert problem in capsys.readouterr().out


def test_masks_without_any_object_are_an_error(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (data / "train_annotation").iterdir():
        cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH), np.uint8))
    assert main(["tile", str(data), "--output", str(tmp_path / "tiles")]) == 3
    assert "all 2 training masks hold only" in capsys.readouterr().out
    classes = {"classes": [{"name": "ground", "value": 0}, {"name": "house", "value": 1}], "ignore_value": 255}
    for split in ("train", "validation"):
        (data / split / "classes.json").write_text(json.dumps(classes))
    assert main(["tile", str(data), "--output", str(tmp_path / "tiles")]) == 3
    assert "no training tile shows an object" in capsys.readouterr().out


def test_a_classification_has_no_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "pets" / name), np.zeros((40, 40, 3), np.uint8))
    assert main(["tile", str(tmp_path / "pets"), "--output", str(tmp_path / "tiles")]) == 2
    assert "tile is for segmentation" in capsys.readouterr().out
