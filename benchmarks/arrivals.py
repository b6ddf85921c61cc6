"""Sends requests at random times, independent of the responses: the same load for every server.

wrk sends the next request when it has a response, so a slow server gets fewer requests. Here the times are drawn in
advance (a Poisson process), and a request's latency starts at its scheduled time.
"""

from __future__ import annotations

import http.client
import math
import random
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from wrk import LoadError

MOST_AT_ONCE = 256
TIMEOUT = 60.0


def arrive(port: int, path: str, images: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> list[float]:
    """The latencies, in milliseconds, of `rate` requests a second on average. Raises LoadError."""
    draw = random.Random(seed)
    due, moment = [], draw.expovariate(rate)
    while moment < seconds:
        due.append(moment)
        moment += draw.expovariate(rate)
    requests = [request(path, image) for image in images]
    started = time.perf_counter()
    with ThreadPoolExecutor(MOST_AT_ONCE) as threads:
        answers = []
        for index, moment in enumerate(due):
            time.sleep(max(0.0, started + moment - time.perf_counter()))
            answers.append(threads.submit(_ask, port, requests[index % len(requests)]))
        ended = [answer.result() for answer in answers]
    return [1000 * (end - started - moment) for end, moment in zip(ended, due, strict=True)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed."""
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def request(path: str, image: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(image)}\r\n\r\n".encode() + image


def _ask(port: int, content: bytes) -> float:
    """The time of the response. Raises LoadError if it is an error."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(content)
            with http.client.HTTPResponse(connection, method="POST") as response:
                response.begin()
                body = response.read()
                ended = time.perf_counter()
    except (OSError, http.client.HTTPException) as error:
        raise LoadError(f"no response: {error!r}") from error
    if response.status != 200:
        raise LoadError(f"the server returned {response.status}: {body[:200]!r}")
    return ended
