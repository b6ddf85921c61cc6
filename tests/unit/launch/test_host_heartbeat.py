"""Hosts of a job that vanish, or fail, as the others see it: each host is a watch of its own on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from support.servers import free_port

from byoc_vision.launch import host_heartbeat
from byoc_vision.launch.error_files import Failure
from byoc_vision.launch.host_heartbeat import HostHeartbeat

HOSTS = ("127.0.0.1", "127.0.0.2")


@pytest.fixture
def port() -> int:
    return free_port()


class Host:
    def __init__(self, name: str, port: int) -> None:
        self.alarm = threading.Event()
        self.watch = HostHeartbeat(HOSTS, name, self.alarm.set, port=port, beat_s=0.02, lost_s=1.5)


def test_alone_there_is_nothing_to_watch(port: int) -> None:
    with HostHeartbeat(("localhost",), "localhost", lambda: None, port=port) as watch:
        assert not watch.alarmed
        assert watch.cause() is None


def test_a_host_that_vanishes_is_missed_and_named(port: int) -> None:
    first, second = (Host(name, port) for name in HOSTS)
    with first.watch:
        with second.watch:
            assert not first.alarm.wait(2), "both are there"
        assert first.alarm.wait(30)
        cause = first.watch.cause()
        assert cause is not None
        assert cause.exit_code == 4
        assert cause.message.startswith("Resources [on 127.0.0.1]: the job's hosts lost each other: 127.0.0.2 did not")


def test_the_reason_of_one_host_is_every_hosts(port: int) -> None:
    first, second = (Host(name, port) for name in HOSTS)
    with first.watch, second.watch:
        cause = Failure("Your data [rank 1 on 127.0.0.2]: a.jpg is empty", 3, rank=1)
        second.watch.tell(cause)
        assert first.alarm.wait(30)
        assert first.watch.cause() == cause


def test_a_host_that_stood_still_does_not_accuse_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was suspended for a minute: its own beats come only after it looks for the first time."""
    rang = threading.Event()
    watch = HostHeartbeat(HOSTS, HOSTS[0], rang.set, beat_s=1, lost_s=40)
    now = watch._answered_at = 0.0
    monkeypatch.setattr(host_heartbeat, "time", SimpleNamespace(monotonic=lambda: now))

    def turns() -> Iterator[bool]:
        nonlocal now
        now = 60.0
        yield False  # it looks
        now, watch._answered_at = 61.0, 60.5
        yield False  # it looks again
        yield True

    ended = turns()
    monkeypatch.setattr(watch, "_ended", SimpleNamespace(wait=lambda _: next(ended)))
    watch._judge()
    assert not watch.alarmed
    assert not rang.is_set()
