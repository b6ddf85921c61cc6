"""Which form of answer the caller gets: the Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from werkzeug.http import parse_list_header, parse_options_header

from byoc_vision.errors import RequestError
from byoc_vision.types import Task


class ResponseFormat(Enum):
    """A form of answer, by its media type."""

    PNG = "image/png"
    OVERLAY = "image/png; view=overlay"
    JSON = "application/json"
    VECTOR = "application/json; view=vector"
    JSON_LINES = "application/jsonlines"
    NPY = "application/x-npy"
    PROTOBUF = "application/x-protobuf"
    RECORDIO = "application/x-recordio-protobuf"

    @property
    def media_type(self) -> str:
        return self.value.partition(";")[0]

    @property
    def view(self) -> str | None:
        return self.value.partition("view=")[2] or None


# The first is the default.
RESPONSE_FORMATS: dict[Task, tuple[ResponseFormat, ...]] = {
    "segmentation": (
        ResponseFormat.PNG,
        ResponseFormat.OVERLAY,
        ResponseFormat.JSON,
        ResponseFormat.JSON_LINES,
        ResponseFormat.NPY,
        ResponseFormat.PROTOBUF,
        ResponseFormat.RECORDIO,
    ),
    "classification": (
        ResponseFormat.JSON,
        ResponseFormat.VECTOR,
        ResponseFormat.JSON_LINES,
        ResponseFormat.NPY,
        ResponseFormat.PROTOBUF,
        ResponseFormat.RECORDIO,
    ),
}
IMAGES = (ResponseFormat.PNG, ResponseFormat.OVERLAY)  # of one answer alone
TEXTS = (ResponseFormat.JSON, ResponseFormat.VECTOR, ResponseFormat.JSON_LINES)
ARRAYS = (ResponseFormat.NPY, ResponseFormat.PROTOBUF, ResponseFormat.RECORDIO)  # of all probabilities


class _Range(NamedTuple):
    """One of the media ranges that a caller accepts."""

    media_type: str
    view: str | None
    quality: float

    def includes(self, form: ResponseFormat) -> bool:
        if self.view != form.view:
            return False
        kind, _, subtype = self.media_type.partition("/")
        if subtype == "*" and kind != "*":
            return form.media_type.startswith(kind + "/")
        return self.media_type in ("*/*", "*", form.media_type)


@lru_cache(maxsize=256)
def choose_format(
    accept: str | None, task: Task, view: str | None = None, default: ResponseFormat | None = None
) -> ResponseFormat:
    """The form that suits the caller best; without a wish, the default, or else the task's.

    Of ranges with the same quality, the one named first wins. Parameters other than `q` and `view` are ignored.
    view: as if every range named it.
    Raises RequestError: 406, which lists what can be had; 400 where the view is not the task's.
    """
    offers = _offers(task, view, default)
    if accept is None or not accept.strip():
        return offers[0]
    ranges = sorted(_parse(accept, view), key=lambda range_: -range_.quality)
    refused = [range_ for range_ in ranges if range_.quality == 0 and "*" not in range_.media_type]
    left = [form for form in offers if not any(range_.includes(form) for range_ in refused)]
    for range_ in ranges:
        for form in left:
            if range_.quality > 0 and range_.includes(form):
                return form
    choices = ", ".join(form.value for form in offers)
    raise RequestError(406, f"Accept: {accept} cannot be met; this {task} model answers {choices}")


def _offers(task: Task, view: str | None, default: ResponseFormat | None) -> list[ResponseFormat]:
    """What can be had, the default first."""
    offers = [form for form in RESPONSE_FORMATS[task] if view is None or form.view == view]
    if not offers:
        choices = ", ".join(form.view for form in RESPONSE_FORMATS[task] if form.view)
        raise RequestError(400, f"view={view} is not for a {task} model; its view is {choices}")
    return sorted(offers, key=lambda form: form is not default)


def _parse(accept: str, view: str | None) -> list[_Range]:
    """The ranges, in the caller's order; those with an unreadable quality are left out."""
    ranges = []
    for text in parse_list_header(accept):
        media_type, parameters = parse_options_header(text)
        try:
            quality = float(parameters.get("q", 1))
        except ValueError:
            continue
        if 0 <= quality <= 1:
            ranges.append(_Range(media_type.strip().lower(), view or parameters.get("view"), quality))
    return ranges
