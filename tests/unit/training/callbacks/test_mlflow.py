"""What becomes of a job whose MLflow server is not there; tests/tracking asks a real one."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from support.tracked import record_of

from byoc_vision.training.callbacks.mlflow import Mlflow


def follow(uri: str, root: Path) -> None:
    """A job of two epochs."""
    mlflow = Mlflow(uri, root / "checkpoints", root / "model", root, {})
    mlflow.train_begin(record_of(0))
    for number in (1, 2):
        mlflow.epoch_end(record_of(number))
    mlflow.train_end(record_of(2, state="finished"))


def test_a_server_that_is_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = dict(os.environ)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        follow(uri, tmp_path)
    assert caplog.text.count(f"Nothing more is sent to MLflow at {uri}") == 1
    assert "check MLFLOW_TRACKING_URI" in caplog.text
    assert dict(os.environ) == before


def test_a_server_that_never_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        follow(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
        assert connections(silent) <= 4, "one request, with its retry, and no further"
    assert caplog.text.count("Nothing more is sent to MLflow") == 1


def test_an_answer_that_makes_no_sense(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Some other server's, say."""
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    with socket.create_server(("127.0.0.1", 0)) as other:
        Thread(target=answer, args=(other, page), daemon=True).start()
        follow(f"http://127.0.0.1:{other.getsockname()[1]}", tmp_path)
    assert caplog.text.count("Nothing more is sent to MLflow") == 1


def connections(server: socket.socket) -> int:
    """How many wait to be accepted."""
    server.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


def answer(server: socket.socket, said: bytes) -> None:
    """Until the server is closed."""
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)


def test_the_package_that_is_missing_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    follow("http://127.0.0.1:9", tmp_path)
    assert caplog.text.count("make build MLFLOW=1") == 1


def test_sagemakers_own_server_takes_a_plugin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sagemaker_mlflow", None)
    follow("arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/mine", tmp_path)
    assert caplog.text.count("it takes the package sagemaker-mlflow; build the image with `make build MLFLOW=1`") == 1
