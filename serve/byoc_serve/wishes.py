"""What a request asks for beside its picture and its form of answer.

Options come in the query string (`/invocations?threshold=0.3`), or in X-Amzn-SageMaker-Custom-Attributes
(`threshold=0.3;palette=true`, or with commas): SageMaker passes that header to the container, and no query string.
The header is also the caller's own, so names in it that are no option are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl

from byoc_vision.errors import RequestError
from byoc_vision.inference.tiling import Tile
from byoc_vision.inference.views import Views

ErrorRule = Literal["fail", "line"]

SMALLEST_TILE = 32
LARGEST_TILE = 4096

_MOST_OPTIONS = 100  # in a query string
_SEPARATORS = re.compile("[;,]")
_NUMBER = re.compile(r"\+?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE]-?\d{1,2})?")


class _WrongValueError(Exception):
    """A value that an option does not allow."""


def _option(parse: Callable[[str], Any], allowed: str, meaning: str) -> Any:
    """A field that is None unless the request says otherwise. allowed: its values, in words."""
    return field(default=None, metadata={"parse": parse, "allowed": allowed, "meaning": meaning})


def _parse_tile(text: str) -> Tile:
    if text == "auto":
        return "auto"
    if not text.isascii() or not text.isdigit() or not SMALLEST_TILE <= int(text[:9]) <= LARGEST_TILE:
        raise _WrongValueError
    return int(text)


def _parse_threshold(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not 0 < float(text) < 1:
        raise _WrongValueError
    return float(text)


def _one_of(**values: Any) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if text not in values:
            raise _WrongValueError
        return values[text]

    return parse


@dataclass(frozen=True)
class Wishes:
    """The options of a request; None where it did not name one."""

    tile: Tile | None = _option(
        _parse_tile,
        f"`auto` or {SMALLEST_TILE}–{LARGEST_TILE}",
        "Masks of large pictures in full detail: overlapping square tiles of so many pixels, each brought to the "
        "model's input size and their answers blended. `auto`: tiles of the model's input size, not resized. Without "
        "it the whole picture is resized to the model's input.",
    )
    tta: Views | None = _option(
        _one_of(none="none", flip="flip", flips="flips"),
        "`none`, `flip` or `flips`",
        "Test-time augmentation: the mean of the probabilities of the picture and its mirror image (`flip`), or of all "
        "four ways to mirror it left-right and top-bottom (`flips`). Takes two or four times as long.",
    )
    threshold: float | None = _option(
        _parse_threshold,
        "between 0 and 1",
        "The probability above which a pixel of a mask of two classes is of the second, or a picture that may have "
        "several classes has one; instead of the model's own.",
    )
    palette: bool | None = _option(
        _one_of(true=True, false=False),
        "`true` or `false`",
        "`image/png` with a palette: the same pixel values, which viewers show as colours.",
    )
    view: str | None = _option(
        _one_of(overlay="overlay", vector="vector"),
        "`overlay` or `vector`",
        "The same as `view=` in `Accept`: the picture with its mask drawn over it, or the bare list of probabilities.",
    )
    errors: ErrorRule | None = _option(
        _one_of(fail="fail", line="line"),
        "`fail` or `line`",
        'What becomes of several pictures of which one cannot be read: the request fails, or `{"error": …}` stands in '
        "that picture's place. Without it RECORD_ERRORS decides.",
    )


@lru_cache(maxsize=256)
def read_wishes(query: str, attributes: str) -> Wishes:
    """The options of a request; where both name one, the query string's holds.

    query: as the URL has it. attributes: the text of X-Amzn-SageMaker-Custom-Attributes.
    Raises RequestError 400: an unknown name in the query string, or a value that is not allowed.
    """
    given = _known(_split_attributes(attributes)) | _known(_split_query(query), strict=True)
    return replace(Wishes(), **{name: _parse(name, text) for name, text in given.items()})


def options_table() -> str:
    """Every option, as a Markdown table."""
    rows = [f"| `{item.name}` | {item.metadata['allowed']} | {item.metadata['meaning']} |" for item in fields(Wishes)]
    return "\n".join(["| option | values | meaning |", "|---|---|---|", *rows])


_OPTIONS: Mapping[str, Any] = {item.name: item.metadata for item in fields(Wishes)}


def _parse(name: str, text: str) -> Any:
    try:
        return _OPTIONS[name]["parse"](text.strip().lower())
    except _WrongValueError as error:
        allowed = _OPTIONS[name]["allowed"].replace("`", "")
        raise RequestError(400, f"the option {name}={text[:100]} is not known; {name} is {allowed}") from error


def _split_query(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_OPTIONS)
    except ValueError as error:
        raise RequestError(400, f"the query string cannot be read: {error}") from error


def _split_attributes(attributes: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in _SEPARATORS.split(attributes))
    return [(name.strip(), value.strip()) for name, equals, value in pairs if equals]


def _known(pairs: Iterable[tuple[str, str]], strict: bool = False) -> dict[str, str]:
    """The options by their names; what is none is refused where that is strict, and left out otherwise."""
    options: dict[str, str] = {}
    for name, value in pairs:
        if name in _OPTIONS:
            if options.setdefault(name, value) != value:
                raise RequestError(400, f"the option {name} is given twice: {options[name][:100]} and {value[:100]}")
        elif strict:
            raise RequestError(400, _unknown(name))
    return options


def _unknown(name: str) -> str:
    nearest = get_close_matches(name.lower(), _OPTIONS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(_OPTIONS)}"
    return f"there is no option {name[:100]}; {hint}"
