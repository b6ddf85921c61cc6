"""Bodies of requests, and what the server reads in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.parsers import outcomes

from byoc_serve.decode import Limits, Payload, choose_decoder
from byoc_vision.errors import RequestError

PIXELS = 10_000  # that an image may have
LIMITS = Limits(images=8, lines=100)


def read(content_type: str | None, body: bytes) -> tuple[list[np.ndarray], bool]:
    """The images of a request, and whether it may have several."""
    payload = choose_decoder(content_type, LIMITS)(body)
    return list(images(payload)), payload.several


def images(payload: Payload) -> Iterator[np.ndarray]:
    """Each image, decoded; the first error is raised."""
    for outcome in outcomes(payload, PIXELS):
        if isinstance(outcome, RequestError):
            raise outcome
        yield outcome


def refusal(content_type: str | None, body: bytes) -> RequestError:
    """The error of a request that is refused."""
    with pytest.raises(RequestError) as raised:
        read(content_type, body)
    return raised.value


def form(*parts: tuple[str, bytes], boundary: str = "edge") -> bytes:
    """A multipart body of parts: what follows `form-data` in their disposition, and their content."""
    lines = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data{rest}\r\n\r\n".encode() + content + b"\r\n"
        for rest, content in parts
    )
    return lines + f"--{boundary}--\r\n".encode()
