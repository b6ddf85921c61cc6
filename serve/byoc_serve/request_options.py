"""The options of a request.

Options come in the query string (`/invocations?threshold=0.3`), or in X-Amzn-SageMaker-Custom-Attributes
(`threshold=0.3;palette=true`, or with commas): SageMaker forwards that header to the container, and no query string.
Clients use the header for other purposes too, so unknown names in it are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from byoc_serve.response_format import ARRAYS, ResponseFormat
from byoc_serve.settings import ErrorRule
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import RequestError
from byoc_vision.inference.options import LARGEST_TILE, SMALLEST_TILE, VIEWS, parse_threshold, parse_tile
from byoc_vision.inference.passes import InferenceOptions
from byoc_vision.inference.tiling import Tile
from byoc_vision.inference.tta import Views

_MAX_OPTIONS = 100  # in a query string
_SEPARATORS = re.compile("[;,]")


@dataclass(frozen=True)
class RequestOptions:
    """The options of a request, each as OPTIONS explains it; None if the request does not name it."""

    tile: Tile | None = None
    tta: Views | None = None
    threshold: float | None = None
    palette: bool | None = None
    view: str | None = None
    errors: ErrorRule | None = None

    def inference_options(self, response_format: ResponseFormat) -> InferenceOptions:
        """The options that concern the model."""
        return InferenceOptions(self.tile, self.tta or "none", self.threshold, probabilities=response_format in ARRAYS)


class Option(NamedTuple):
    """The values of an option and their meaning.

    parse: from a text in lower case to the value; raises ValueError. allowed: the values, in words; schema: the same as
    JSON Schema.
    """

    parse: Callable[[str], object]
    allowed: str
    meaning: str
    schema: dict[str, Any]


@lru_cache(maxsize=256)
def read_options(query: str, attributes: str) -> RequestOptions:
    """The options of a request; if both name one, the query string wins.

    query: as the URL has it. attributes: the text of X-Amzn-SageMaker-Custom-Attributes.
    Raises RequestError 400: an unknown name in the query string, or a value that is not allowed.
    """
    given = _known(_split_attributes(attributes)) | _known(_split_query(query), strict=True)
    values: dict[str, Any] = {name: _parse(name, text) for name, text in given.items()}
    return RequestOptions(**values)


def check_options(options: RequestOptions, config: ModelConfig) -> None:
    """Raises RequestError 400, with the remedy, if an option does not suit the model."""
    if config.task != "segmentation":
        for name in ("tile", "palette"):
            if getattr(options, name):
                raise RequestError(400, f"the option {name} is for masks, and this model is a classifier; leave it out")
    if options.threshold is not None and config.activation != "sigmoid":
        raise RequestError(
            400,
            "this model predicts the most probable of its classes and has no threshold; leave the option out, or get "
            "the probabilities (Accept: application/x-npy) and apply a threshold to them",
        )


def options_for(config: ModelConfig | None) -> dict[str, Option]:
    """The options that suit a model, with its own threshold as the default; all options if there is no model yet."""
    if config is None:
        return OPTIONS
    if config.task == "segmentation":
        refused, views = set(), ["overlay"]
    else:
        refused, views = {"tile", "palette"}, ["vector"]
    granted = OPTIONS | {"view": OPTIONS["view"]._replace(schema={"enum": views})}
    if config.activation == "sigmoid":
        threshold = OPTIONS["threshold"]
        granted["threshold"] = threshold._replace(schema=threshold.schema | {"default": config.threshold})
    else:
        refused.add("threshold")
    return {name: option for name, option in granted.items() if name not in refused}


def options_table() -> str:
    """Every option, as a Markdown table."""
    rows = [f"| `{name}` | {option.allowed} | {option.meaning} |" for name, option in OPTIONS.items()]
    return "\n".join(["| option | values | meaning |", "|---|---|---|", *rows])


def _parse(name: str, text: str) -> object:
    try:
        return OPTIONS[name].parse(text.strip().lower())
    except ValueError as error:
        allowed = OPTIONS[name].allowed.replace("`", "")
        raise RequestError(400, f"the option {name}={text[:100]} is not valid; {name} is {allowed}") from error


def _split_query(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_OPTIONS)
    except ValueError as error:
        raise RequestError(400, f"the query string cannot be read: {error}") from error


def _split_attributes(attributes: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in _SEPARATORS.split(attributes))
    return [(name.strip(), value.strip()) for name, equals, value in pairs if equals]


def _known(pairs: Iterable[tuple[str, str]], strict: bool = False) -> dict[str, str]:
    """The options by name. Unknown names are an error if strict, and ignored otherwise."""
    options: dict[str, str] = {}
    for name, value in pairs:
        if name in OPTIONS:
            if options.setdefault(name, value) != value:
                raise RequestError(400, f"the option {name} is given twice: {options[name][:100]} and {value[:100]}")
        elif strict:
            raise RequestError(400, _unknown(name))
    return options


def _unknown(name: str) -> str:
    nearest = get_close_matches(name.lower(), OPTIONS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"the options are {', '.join(OPTIONS)}"
    return f"unknown option {name[:100]}; {hint}"


def _one_of(**values: object) -> Callable[[str], object]:
    def parse(text: str) -> object:
        if text not in values:
            raise ValueError(f"{text!r} is not one of {', '.join(values)}")
        return values[text]

    return parse


OPTIONS = {
    "tile": Option(
        parse_tile,
        f"`auto` or {SMALLEST_TILE}–{LARGEST_TILE}",
        "Masks of large images in full detail: overlapping tiles, each resized to the model's input size, whose "
        "predictions are blended. A number is a tile's longer side in pixels of the image; `auto` is the model's input "
        "size, so that nothing is resized. Without this option the whole image is resized to the model's input size.",
        {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": SMALLEST_TILE, "maximum": LARGEST_TILE}]},
    ),
    "tta": Option(
        _one_of(**{view: view for view in VIEWS}),
        "`none`, `flip` or `flips`",
        "Test-time augmentation: the mean of the probabilities of the image and its mirror image (`flip`), or of all "
        "four mirror images, left-right and top-bottom (`flips`, for images without up and down). Takes two or four "
        "times as long.",
        {"enum": list(VIEWS)},
    ),
    "threshold": Option(
        parse_threshold,
        "between 0 and 1",
        "Replaces the model's own threshold: the probability above which a pixel of a mask with two classes belongs to "
        "the second class, or a class of a multi-label model is present.",
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    ),
    "palette": Option(
        _one_of(true=True, false=False),
        "`true` or `false`",
        "`image/png` with a palette: the same pixel values, shown by viewers as colours: those of the training masks "
        "if these were in colours.",
        {"type": "boolean"},
    ),
    "view": Option(
        _one_of(overlay="overlay", vector="vector"),
        "`overlay` or `vector`",
        "The same as `view=` in `Accept`: the image with its mask drawn over it, or only the list of probabilities.",
        {"enum": ["overlay", "vector"]},
    ),
    "errors": Option(
        _one_of(fail="fail", line="line"),
        "`fail` or `line`",
        'If one of several images cannot be read: the request fails, or `{"error": …}` takes the place of its '
        "prediction. Without this option `RECORD_ERRORS` decides.",
        {"enum": ["fail", "line"]},
    ),
}
