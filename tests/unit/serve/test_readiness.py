"""The readiness that all workers share."""

from __future__ import annotations

import os

from byoc_serve.readiness import Readiness, State


def test_ready_means_all_workers() -> None:
    readiness = Readiness(workers=2)
    assert [readiness[0], readiness[1], readiness.ready] == [State.STARTING, State.STARTING, False]
    readiness[0] = State.READY
    assert not readiness.ready
    readiness[1] = State.READY
    assert readiness.ready
    readiness[0] = State.FAILED
    assert not readiness.ready


def test_the_exit_code_is_not_the_state_of_a_worker() -> None:
    readiness = Readiness(workers=1)
    readiness.exit_code = 3
    readiness[0] = State.READY
    assert (readiness.exit_code, readiness.ready) == (3, True)


def test_a_forked_worker_writes_for_all() -> None:
    readiness = Readiness(workers=1)
    child = os.fork()
    if child == 0:
        readiness[0] = State.READY
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert readiness.ready
