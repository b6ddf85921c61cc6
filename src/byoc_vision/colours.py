"""Colours as users and labelling tools write them, and as numbers: 0xRRGGBB."""

from __future__ import annotations

import json
import re
from typing import Any

_HEX = re.compile(r"#?([0-9a-f]{6})", re.IGNORECASE)
_EXAMPLE = "background=#000000, car=#800000"


def parse_colour(value: object) -> int | None:
    """0xRRGGBB of `#800000`, `128,0,0`, `128 0 0` or `[128, 0, 0]`; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if found := _HEX.fullmatch(text):
            return int(found[1], 16)
        value = re.split(r"[\s,;]+", text.strip("()[] "))
    if not isinstance(value, list | tuple) or len(value) not in (3, 4):
        return None
    try:
        levels = [int(level) for level in value[:3]]
    except (TypeError, ValueError):
        return None
    return join(*levels) if all(0 <= level <= 255 for level in levels) else None


def join(red: int, green: int, blue: int) -> int:
    """0xRRGGBB"""
    return red << 16 | green << 8 | blue


def split(colour: int) -> tuple[int, int, int]:
    """Red, green and blue, 0–255."""
    return colour >> 16 & 255, colour >> 8 & 255, colour & 255


def to_hex(colour: int) -> str:
    """`#rrggbb`"""
    return f"#{colour:06x}"


def parse_mask_colours(text: str) -> tuple[tuple[str, int], ...]:
    """(name, colour) of each class in `background=#000000, car=#800000`, or in a JSON object.

    Raises ValueError that names the entry which is wrong.
    """
    if text.lstrip().startswith("{"):
        content: Any = json.loads(text)
        pairs = list(content.items())
    else:
        pairs = [(name, colour) for entry in text.split(",") for name, _, colour in [entry.partition("=")]]
    found: list[tuple[str, int]] = []
    for name, given in pairs:
        colour = parse_colour(given)
        if not name.strip() or colour is None:
            raise ValueError(f"{name.strip()!r} has no colour; it should be like {_EXAMPLE}")
        found.append((name.strip(), colour))
    if len(found) < 2:
        raise ValueError(f"there must be two classes or more, also the background, like {_EXAMPLE}")
    if len({colour for _, colour in found}) < len(found):
        raise ValueError("two classes have the same colour")
    return tuple(found)


def mask_colours_text(value: Any) -> str:
    """The canonical text of `mask_colors`; empty for none. Raises ValueError."""
    text = json.dumps(value) if isinstance(value, dict) else str(value).strip()
    return ", ".join(f"{name}={to_hex(colour)}" for name, colour in parse_mask_colours(text)) if text else ""
