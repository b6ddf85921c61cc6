"""No user name and password of a URL is in a log, a report or a failure file."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.config import Config
from support.tracked import record_of

from byoc_serve.run import TextLogger
from byoc_vision.errors import ResourceError
from byoc_vision.launch.error_files import report_failure
from byoc_vision.logs import set_up_logging
from byoc_vision.redaction import redact
from byoc_vision.report.record import RECORD_FILE, write_record

SECRET = "hunter2"
URL = f"https://admin:{SECRET}@mlflow.example:5000/path"
HIDDEN = "https://***@mlflow.example:5000/path"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (URL, HIDDEN),
        (f"first {URL} and\n'{URL}', then", f"first {HIDDEN} and\n'{HIDDEN}', then"),
        ("s3://key:sec/ret@bucket/a", "s3://***@bucket/a"),
        ("http://a:p@ss@host", "http://***@host"),
        ("http://token@host/", "http://***@host/"),
        ("socks5h://a:b@[::1]:3128", "socks5h://***@[::1]:3128"),
        ('{"uri":"http://host","mail":"x@y"}', '{"uri":"http://host","mail":"x@y"}'),
        ("https://host:8080/path@v1 and a@b", "https://host:8080/path@v1 and a@b"),
        ("https://host/path@v1?to=me@here", "https://host/path@v1?to=me@here"),
        ("s3://bucket/a@b.png", "s3://bucket/a@b.png"),
    ],
)
def test_the_user_info_of_urls_is_hidden(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.fixture(params=[False, True], ids=["text", "json"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the process logs."""
    root = logging.getLogger()
    before, level, hook = list(root.handlers), root.level, sys.excepthook
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    set_up_logging(as_json=request.param)
    yield stream
    sys.excepthook = hook
    logging.captureWarnings(False)
    root.handlers[:] = before
    root.setLevel(level)


def test_no_log_line_and_no_traceback_has_it(log: io.StringIO) -> None:
    logger = logging.getLogger("byoc_vision.test")
    try:
        raise ValueError(f"cannot reach {URL}") from OSError(URL)
    except ValueError:
        logger.exception("Nothing is sent to %s", URL, extra={"fields": {"uri": URL}}, stack_info=True)
    logging.getLogger("urllib3").warning("Retrying %s", URL)
    assert SECRET not in log.getvalue()
    assert log.getvalue().count("***@mlflow.example") >= 4


def test_no_uncaught_exception_shows_it() -> None:
    code = f"from byoc_vision.logs import set_up_logging; set_up_logging(); raise ValueError({URL!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"ValueError: {HIDDEN}" in done.stderr
    assert SECRET not in done.stdout + done.stderr.replace(code, "")


@pytest.mark.parametrize("kind", [ResourceError, ValueError])
def test_no_failure_file_has_it(tmp_path: Path, kind: type[Exception]) -> None:
    """Also where the limit of the file would cut the URL before its @."""
    for padding in (0, 380, 475, 985):
        path = tmp_path / f"failure-{padding}"
        report_failure(path, kind("x" * padding + f" {URL}"))
        assert SECRET[:4] not in path.read_text()


def test_no_record_has_it(tmp_path: Path) -> None:
    write_record(tmp_path, record_of(1, state="failed", reason=f"cannot reach {URL}"))
    text = (tmp_path / RECORD_FILE).read_text()
    assert SECRET not in text
    assert json.loads(text)["reason"] == f"cannot reach {HIDDEN}"


def test_no_line_of_gunicorn_has_it(capfd: pytest.CaptureFixture[str]) -> None:
    """It has a log handler of its own."""
    config = Config()
    config.set("accesslog", "-")
    log = TextLogger(config)
    log.error("cannot reach %s", URL)
    log.access_log.info("%s", URL)
    try:
        raise OSError(URL)
    except OSError:
        log.exception("failed")
    written = "".join(capfd.readouterr())
    assert written.count("***@") == 3
    assert SECRET not in written
