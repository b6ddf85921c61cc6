"""Masks saved as JPEG, or with soft edges, are read as two classes if they hold two; otherwise an error names one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.images import draw_scene, save_image

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight import CheckedDataset, inspect
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.targets import read_mask_values
from byoc_vision.types import ClassInfo

TWO = (ClassInfo("background", 0), ClassInfo("foreground", 255))


def save_masks(root: Path, ending: str, *levels: int, soft: bool = False, quality: int = 75) -> Path:
    """Eight images; their masks hold levels[0], an ellipse of levels[1], and a stripe of each further level."""
    for index in range(8):
        image, inside = draw_scene(index, 96, 64)
        mask = np.where(inside, levels[1], levels[0]).astype(np.uint8)
        for row, level in enumerate(levels[2:]):
            mask[6 * row : 6 * row + 6] = level
        if soft:
            mask = cv2.GaussianBlur(mask, (3, 3), 0).astype(np.uint8)
        save_image(root / f"images/{index}.jpg", image)
        path = root / f"masks/{index}.{ending}"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), mask, [cv2.IMWRITE_JPEG_QUALITY, quality] if ending == "jpg" else [])
    return root


def run(root: Path, **options: int) -> CheckedDataset:
    chosen = DataOptions(**options)  # type: ignore[arg-type]
    return inspect(find_dataset({"train": root}, chosen), chosen)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_masks_of_two_classes(tmp_path: Path, quality: int) -> None:
    dataset, report = run(save_masks(tmp_path, "jpg", 0, 255, quality=quality))
    assert report.errors == []
    assert dataset.classes == TWO
    assert dataset.ignore_value is None
    assert "saved as JPEG or have soft edges" in report.warnings[0]
    assert "save masks as PNG" in report.warnings[0]
    for sample in dataset.train + dataset.validation:
        inside = draw_scene(int(sample.image.name[0]), 96, 64)[1]
        read = read_mask_values(sample)
        assert set(np.unique(read)) == {0, 255}
        assert np.mean((read == 255) != inside) < 0.005, "only pixels at the edge may change"


def test_soft_edges_in_a_png(tmp_path: Path) -> None:
    dataset, report = run(save_masks(tmp_path, "png", 0, 255, soft=True))
    assert (dataset.classes, report.errors) == (TWO, [])
    assert "soft edges" in report.warnings[0]


def test_num_classes_may_say_two(tmp_path: Path) -> None:
    dataset, report = run(save_masks(tmp_path, "jpg", 0, 255), num_classes=2)
    assert (dataset.classes, report.errors) == (TWO, [])


@pytest.mark.parametrize("levels", [(0, 128, 255), (0, 2, 4), (0, 85, 170, 255)])
def test_other_jpeg_masks_are_an_error_with_the_remedy(tmp_path: Path, levels: tuple[int, ...]) -> None:
    _, report = run(save_masks(tmp_path, "jpg", *levels, quality=50))
    (error,) = report.errors
    assert "masks are saved with loss, such as" in error
    assert ".jpg: they hold" in error
    assert "save masks as PNG" in error


@pytest.mark.parametrize("levels", [(0, 128, 255), (0, 1, 2, 3, 4, 5, 6, 7), (0, 40, 80, 120, 160, 200, 240)])
def test_clean_masks_keep_their_classes(tmp_path: Path, levels: tuple[int, ...]) -> None:
    dataset, report = run(save_masks(tmp_path, "png", *levels))
    assert [entry.value for entry in dataset.classes] == list(levels)
    assert not any("soft edges" in warning for warning in report.warnings)
