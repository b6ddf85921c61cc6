"""Numbers and names as people read them."""

from __future__ import annotations

import math

NOTHING = "–"

_TITLES = {
    "accuracy": "accuracy",
    "dice": "Dice",
    "exact_match": "exact match",
    "f1": "F1",
    "loss": "loss",
    "map": "mAP",
    "micro_f1": "micro F1",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "precision": "precision",
    "recall": "recall",
}


def title(name: str) -> str:
    """A metric's name in metrics.json, as readers know it."""
    return _TITLES.get(name) or name.replace("_", " ")


def heading(name: str) -> str:
    """`title`, with a capital letter."""
    return capital(title(name))


def capital(text: str) -> str:
    """With a capital first letter, except names with capitals of their own: mIoU."""
    return text if any(letter.isupper() for letter in text.split(" ")[0]) else text[:1].upper() + text[1:]


def number(value: float | None) -> str:
    """Four digits after the point; three significant ones of very large and very small numbers."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.1f}" if size >= 100 else f"{value:.4f}"


def share(value: float | None, digits: int = 1) -> str:
    """0–1 as a percentage; very small ones with two significant digits, so that they do not read as 0."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{100 * value:.2g} %" if 0 < value < 0.0005 and digits else f"{100 * value:.{digits}f} %"


def count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def many(value: float | None) -> str:
    """A count; from a million up in millions."""
    return count(value) if value is None or value < 1e6 else f"{value / 1e6:,.4g} M"


def duration(seconds: float | None) -> str:
    """In the two largest units that matter."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if 0 < seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24:02} h"


def memory(size: float | None) -> str:
    """Bytes."""
    if size is None:
        return NOTHING
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} B"


def setting(value: object) -> str:
    """A hyperparameter's value, as users write it."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(setting, value)) or NOTHING
    return str(value)
