"""Which format the client gets: the Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from werkzeug.http import parse_accept_header, parse_options_header

from byoc_vision.errors import RequestError
from byoc_vision.types import Task


class ResponseFormat(Enum):
    """A format of predictions, by its media type."""

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


IMAGES = (ResponseFormat.PNG, ResponseFormat.OVERLAY)  # of one prediction
TEXTS = (ResponseFormat.JSON, ResponseFormat.VECTOR, ResponseFormat.JSON_LINES)
ARRAYS = (ResponseFormat.NPY, ResponseFormat.PROTOBUF, ResponseFormat.RECORDIO)  # of all probabilities

# The first is the default.
RESPONSE_FORMATS: dict[Task, tuple[ResponseFormat, ...]] = {
    "segmentation": (*IMAGES, ResponseFormat.JSON, ResponseFormat.JSON_LINES, *ARRAYS),
    "classification": (*TEXTS, *ARRAYS),
}
_NO_ZERO = re.compile(r"(;\s*q=)(?=\.)", re.IGNORECASE)  # `q=.2`, as Java's HttpURLConnection sends it


@lru_cache(maxsize=256)
def choose_format(
    accept: str | None, task: Task, view: str | None = None, default: ResponseFormat | None = None
) -> ResponseFormat:
    """The format that suits the client best; if it states no preference, the default, or else the task's.

    Of media ranges with the same quality, the first wins. Parameters other than `q` and `view` are ignored, which
    werkzeug's own matching does not do.
    view: as if every range named it.
    Raises RequestError: 406, which lists the formats; 400 if the view is not the task's.
    """
    offers = _offers(task, view, default)
    if accept is None or not accept.strip():
        return offers[0]
    ranges = sorted(parse_accept_header(_NO_ZERO.sub(r"\g<1>0", accept)), key=lambda pair: -pair[1])
    refused = [media_range for media_range, quality in ranges if quality == 0 and "*" not in media_range]
    left = [offer for offer in offers if not any(_includes(media_range, offer, view) for media_range in refused)]
    for media_range, quality in ranges:
        for offer in left:
            if quality > 0 and _includes(media_range, offer, view):
                return offer
    choices = ", ".join(offer.value for offer in offers)
    raise RequestError(406, f"Accept: {accept} cannot be met; this {task} model offers {choices}")


def _offers(task: Task, view: str | None, default: ResponseFormat | None) -> list[ResponseFormat]:
    """The formats to choose from, the default first."""
    offers = [offer for offer in RESPONSE_FORMATS[task] if view is None or offer.view == view]
    if not offers:
        choices = ", ".join(offer.view for offer in RESPONSE_FORMATS[task] if offer.view)
        raise RequestError(400, f"view={view} is not for a {task} model; its view is {choices}")
    return sorted(offers, key=lambda offer: offer is not default)


def _includes(media_range: str, offer: ResponseFormat, view: str | None) -> bool:
    """Whether a media range of an Accept header includes a format. view: instead of the range's own."""
    media_type, parameters = parse_options_header(media_range)
    if (view or parameters.get("view")) != offer.view:
        return False
    kind, _, subtype = media_type.strip().lower().partition("/")
    if subtype == "*" and kind != "*":
        return offer.media_type.startswith(kind + "/")
    return (kind == "*" and subtype in ("", "*")) or f"{kind}/{subtype}" == offer.media_type
