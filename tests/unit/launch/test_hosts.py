"""The names of a job's hosts."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from byoc_vision.errors import ResourceError
from byoc_vision.launch import hosts
from byoc_vision.launch.hosts import make_resolve, wait_for_hosts

MISSING = "no-such-host.invalid"


def test_hosts_that_do_not_appear_are_named() -> None:
    wait_for_hosts(["localhost"])
    with pytest.raises(ResourceError, match=r"did not appear within 0 s: no-such-host\.invalid"):
        wait_for_hosts(["localhost", MISSING], within_s=0)


def test_the_log_names_them_before_that(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, after 15 s: a job whose hosts do not find each other is not silent."""
    now = itertools.count(step=0.5)
    clock = SimpleNamespace(monotonic=lambda: next(now), sleep=lambda seconds: None)
    monkeypatch.setattr(hosts, "time", clock)
    monkeypatch.setattr(hosts, "resolves", lambda host: host != MISSING)
    with pytest.raises(ResourceError):
        wait_for_hosts(["localhost", MISSING], within_s=1.2, tell_after_s=0)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == f"The names of these hosts of the job do not resolve yet: {MISSING}; waiting for up to 1 s"


def test_a_name_of_this_host_gets_an_address(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1\tlocalhost\n")
    assert make_resolve("localhost", file)
    assert file.read_text() == "127.0.0.1\tlocalhost\n"
    assert make_resolve(MISSING, file)
    assert file.read_text().endswith(f"127.0.0.1\t{MISSING}\n")


def test_a_hosts_file_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not make_resolve(MISSING, tmp_path / "none/hosts")
    assert MISSING in caplog.text
