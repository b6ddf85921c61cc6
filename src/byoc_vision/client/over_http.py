"""Asking a server at a URL."""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.parse
import urllib.request

from byoc_vision.client.errors import PredictionError, error_of
from byoc_vision.client.images import CONTENT_TYPE
from byoc_vision.client.request import Ask, Request


def ask_url(url: str, timeout: float) -> Ask:
    """Something that asks the server at `url`; without a path it is the server's /invocations."""

    def ask(request: Request) -> bytes:
        headers = {"Content-Type": CONTENT_TYPE, "Accept": request.accept}
        asked = urllib.request.Request(_address(url, request.options), request.body, headers, method="POST")
        return _answer(asked, url, timeout)

    return ask


def _address(url: str, options: dict[str, str]) -> str:
    parts = urllib.parse.urlsplit(url)
    path = parts.path if parts.path.strip("/") else "/invocations"
    query = "&".join(text for text in (parts.query, urllib.parse.urlencode(options)) if text)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _answer(asked: urllib.request.Request, url: str, timeout: float) -> bytes:
    try:
        with urllib.request.urlopen(asked, timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise error_of(error.code, error.read(), {k.lower(): v for k, v in error.headers.items()}) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError | socket.timeout):
            raise PredictionError(f"{url} gave no answer within {timeout:g} s; give it more with timeout=…") from error
        raise PredictionError(f"{url} cannot be reached: {reason}; is the server running?") from error
