"""SIGTERM: before training, once, and twice."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from byoc_vision.launch.signals import STOPPED_EXIT_CODE, StopRequestedError, StopSignals


def test_before_training_it_ends_what_is_under_way() -> None:
    with StopSignals().listening(), pytest.raises(StopRequestedError):
        signal.raise_signal(signal.SIGTERM)


def test_in_training_it_is_a_request() -> None:
    with StopSignals().listening() as signals:
        signals.training = True
        assert not signals.requested
        signal.raise_signal(signal.SIGTERM)
        assert signals.requested


def test_the_handler_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals().listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


DEAF = """
import os, signal
from byoc_vision.launch.signals import StopSignals
with StopSignals(grace_s={grace}).listening() as signals:
    signals.training = True
    for _ in range({requests}):
        os.kill(os.getpid(), signal.SIGTERM)
    while True:
        signal.pause()
"""


@pytest.mark.parametrize(
    ("requests", "grace", "said"),
    [(2, 100, "A second request to stop: "), (1, 0.01, "0 s after the request to stop: ")],
)
def test_a_second_request_and_the_end_of_the_grace_end_the_process(requests: int, grace: float, said: str) -> None:
    program = DEAF.format(requests=requests, grace=grace)
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == STOPPED_EXIT_CODE == 143
    assert done.stdout.startswith(said)
    assert "the last checkpoint written is intact" in done.stdout
