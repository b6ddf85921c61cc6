"""What an endpoint or a server says in place of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping

_MOST_SHOWN = 300  # characters of an error that is not ours


class PredictionError(Exception):
    """A picture that was not answered.

    status: of HTTP, None where nobody answered. message: the server's own. id: of the request, which the server's log
    has, too. temporary: whether the same request may be answered later. retry_after: seconds, where the server says.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        id: str | None = None,
        temporary: bool = False,
        retry_after: float | None = None,
    ) -> None:
        said = message if status is None else f"{status}: {message}"
        super().__init__(said if id is None else f"{said} (id {id})")
        self.message = message
        self.status = status
        self.id = id
        self.temporary = temporary
        self.retry_after = retry_after


def error_of(status: int, body: bytes | str, headers: Mapping[str, str] | None = None) -> PredictionError:
    """The error that an answer of this status tells, as our server writes it or in another's words.

    headers: with names in lower case.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    headers = headers or {}
    document = _json_object(text)
    message = str(document["error"]) if "error" in document else " ".join(text.split())[:_MOST_SHOWN]
    return PredictionError(
        message or "the server gave no reason",
        status,
        str(document["id"]) if "id" in document else headers.get("x-request-id"),
        temporary=status in (429, 503, 504),
        retry_after=_seconds(headers.get("retry-after")),
    )


def _json_object(text: str) -> dict[str, object]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is left to the caller's own patience."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
