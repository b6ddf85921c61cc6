from __future__ import annotations

from itertools import combinations

import numpy as np

from byoc_vision.inference.difference import DIFFERENCE_COLOURS, difference, difference_palette

KINDS = list(DIFFERENCE_COLOURS)


def told(labels: list[int], target: list[int], background: tuple[int, ...] = (0,)) -> list[str]:
    kinds = difference(np.uint8([labels]), np.uint8([target]), background)
    return [KINDS[kind] for kind in kinds[0]]


def test_each_pixel_has_a_kind() -> None:
    assert told([0, 1, 0, 1, 2, 1], [0, 1, 1, 0, 1, 255]) == [
        "background",
        "right",
        "missed",
        "false alarm",
        "another class",
        "not counted",
    ]


def test_without_a_background_a_pixel_is_right_or_another_class() -> None:
    assert told([0, 0, 1], [0, 1, 0], ()) == ["right", "another class", "another class"]


def test_the_colours_differ_in_brightness_too() -> None:
    """For colour-blind people, and for grey printers."""
    # Rec. 709
    brightness = dict(zip(KINDS, (difference_palette() / 255.0) @ [0.2126, 0.7152, 0.0722], strict=True))
    for one, other in combinations(("background", "right", "missed", "false alarm"), 2):
        assert abs(brightness[one] - brightness[other]) > 0.04, f"{one} and {other}"
