"""The page's colours, for its style sheet and its charts."""

from __future__ import annotations

from typing import NamedTuple

from byoc_vision.inference.difference import DIFFERENCE_COLOURS

_NEUTRAL = ("background", "not counted")


class Shade(NamedTuple):
    """A colour in both schemes, as #rrggbb."""

    light: str
    dark: str


INK = Shade("#191b1d", "#eceef0")
QUIET = Shade("#5b6066", "#a2a8ae")
LINE = Shade("#dcdddd", "#2e3135")
EDGE = Shade("#83888d", "#737a81")

# Of lines beside each other: distinct in both schemes, and with red-green blindness.
SERIES = (
    Shade("#2452c9", "#92b2ff"),
    Shade("#b85c00", "#ffb057"),
    Shade("#0b7a5c", "#55d6a8"),
    Shade("#8e3fb3", "#d5a1f2"),
    Shade("#c02e5e", "#ff93b4"),
    Shade("#35758f", "#7fd0ea"),
    Shade("#7a6400", "#e0c64a"),
    Shade("#6b5b50", "#cdb8a8"),
)


def series_shade(index: int) -> Shade:
    return SERIES[index % len(SERIES)]


def dark_colours() -> dict[str, str]:
    """Light → dark, for all colours of charts."""
    return {shade.light: shade.dark for shade in (INK, QUIET, LINE, EDGE, *SERIES)}


def difference_colours() -> dict[str, str]:
    """The legend of difference images: meaning → colour."""
    return {
        name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in DIFFERENCE_COLOURS.items() if name not in _NEUTRAL
    }
