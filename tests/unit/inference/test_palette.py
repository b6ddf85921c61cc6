"""The colours of classes, and which of them are not drawn."""

from __future__ import annotations

import numpy as np
import pytest

from byoc_vision.inference.overlay import background_classes, class_colours, mask_palette
from byoc_vision.inference.palette import MOST_CLASSES
from byoc_vision.types import ClassInfo


def test_a_hundred_classes_differ() -> None:
    assert len(np.unique(class_colours(100), axis=0)) == 100
    assert class_colours(MOST_CLASSES).shape == (MOST_CLASSES, 3)
    assert class_colours(0).shape == (0, 3)


def test_neighbouring_classes_have_distinct_colours() -> None:
    colours = class_colours(40).astype(int)
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() >= 64


def test_classes_of_masks_in_colours_keep_them() -> None:
    classes = (ClassInfo("background", 0, "#000080"), ClassInfo("car", 7, "#80ff00"), ClassInfo("tree", 9))
    palette = mask_palette(classes)
    assert palette[[0, 7]].tolist() == [[0, 0, 128], [128, 255, 0]]
    assert palette[9].any()


@pytest.mark.parametrize(
    ("names", "background"),
    [
        (("anything", "car"), (0,)),
        (("Background", "car", "tree"), (0,)),
        (("road", "car", "void", "unlabelled"), (2, 3)),
        (("class_0", "class_1", "class_2"), (0,)),
        (("road", "car", "tree"), ()),
    ],
)
def test_the_background_is_not_drawn(names: tuple[str, ...], background: tuple[int, ...]) -> None:
    classes = tuple(ClassInfo(name=name, value=10 * index) for index, name in enumerate(names))
    assert background_classes(classes) == background
    drawn = np.flatnonzero(mask_palette(classes).any(axis=1))
    assert drawn.tolist() == [10 * index for index in range(len(names)) if index not in background]
