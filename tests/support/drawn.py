"""Images with shapes, as labelling tools export them. In each image a car (a rectangle) and a tree (a triangle)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from support.images import draw_scene, save_image

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight import check
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.data.targets import read_mask_values

HEIGHT, WIDTH = 32, 48
CAR = [4, 4, 20, 4, 20, 16, 4, 16]
TREE = [24, 28, 44, 28, 34, 10]

Shape = tuple[str, list[int]]
BOTH: tuple[Shape, ...] = (("car", CAR), ("tree", TREE))


def save_images(folder: Path, names: Iterable[str]) -> None:
    for index, name in enumerate(names):
        save_image(folder / name, draw_scene(100 * len(str(folder)) + index, WIDTH, HEIGHT)[0])


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def checked(folder: Path, **options: Any) -> Dataset:
    chosen = DataOptions(**options)
    return check(find_dataset({"train": folder}, chosen), chosen).dataset


def labels(dataset: Dataset, is_wanted: Callable[[Path], bool] = lambda _: True) -> np.ndarray:
    """The mask of the first training image that is wanted."""
    return read_mask_values(next(one for one in dataset.train if is_wanted(Path(str(one.image)))))


def shown(mask: np.ndarray) -> dict[str, int]:
    """The label in the middle of the car, of the tree, and in a corner."""
    return {"car": int(mask[10, 12]), "tree": int(mask[24, 34]), "corner": int(mask[0, -1])}


def names(dataset: Dataset) -> list[str]:
    return [entry.name for entry in dataset.classes]
