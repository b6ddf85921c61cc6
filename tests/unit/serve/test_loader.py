"""From STARTING to READY or FAILED, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from support.engines import openvino_name
from support.servers import save_classifier

from byoc_serve.health import Board, State
from byoc_serve.loader import BUG_EXIT_CODE, Loader
from byoc_serve.served import ServedModel, load_model
from byoc_serve.settings import Settings
from byoc_vision.errors import DataError, RequestError
from byoc_vision.inference.engines.base import EnginePrecision
from byoc_vision.inference.predictor import Predictor

SOON = 60.0


def status_of(loader: Loader) -> int:
    with pytest.raises(RequestError) as raised:
        _ = loader.model
    return raised.value.status


def test_a_model_is_loaded_once_and_then_ready(classifier: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    may_load, loads = Event(), []

    def source() -> ServedModel:
        assert may_load.wait(SOON)
        loads.append(1)
        return ServedModel(classifier, Settings())

    board = Board()
    loader = Loader(source, board)
    assert (board[0], loader.ready, status_of(loader)) == (State.STARTING, False, 503)
    loader.start()
    assert (board[0], loader.ready, status_of(loader)) == (State.STARTING, False, 503)
    with caplog.at_level(logging.INFO, "byoc_serve"):
        may_load.set()
        assert loader.wait(SOON) is State.READY
    assert loader.ready
    assert loader.model is loader.model
    assert loads == [1]
    assert "test, classification, 3 classes, torch float32 on cpu" in caplog.text
    loader.stop()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_settings_name_the_precision(tmp_path: Path, precision: EnginePrecision) -> None:
    save_classifier(tmp_path / "model", for_cpus=True)
    model = load_model(Settings(root=tmp_path, engine="openvino", precision=precision), 0)
    computed = openvino_name(tmp_path / "model", precision)
    assert str(model) == f"resnet10t, classification, 3 classes, {computed} on cpu"


def test_stopping_while_loading_ends_the_thread(classifier: Predictor) -> None:
    loader = Loader(lambda: ServedModel(classifier, Settings()), Board())
    loader.start()
    loader.stop()
    assert loader.wait(0) is State.READY


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (DataError("/opt/ml/model holds no model"), DataError.exit_code, "/opt/ml/model holds no model"),
        (KeyError("oops"), BUG_EXIT_CODE, "KeyError: 'oops'"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told(
    error: Exception, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    board, told = Board(), Event()
    loader = Loader(failing(error), board, on_failure=told.set)
    loader.start()
    assert loader.wait(SOON) is State.FAILED
    assert told.wait(SOON)
    assert (loader.failure, board.exit_code, loader.ready, status_of(loader)) == (reason, code, False, 500)
    assert f"the model cannot be served: {reason}" in caplog.messages
    assert ("Traceback" in caplog.text) == (code == BUG_EXIT_CODE)
    loader.stop()


def test_a_model_whose_thread_ends_is_no_longer_ready(classifier: Predictor) -> None:
    class Breaking(ServedModel):
        def run(self) -> None:
            raise RuntimeError("the queue is broken")

    board, told = Board(), Event()
    loader = Loader(lambda: Breaking(classifier, Settings()), board, on_failure=told.set)
    loader.start()
    assert told.wait(SOON)
    assert (loader.failure, loader.ready, status_of(loader)) == ("RuntimeError: the queue is broken", False, 500)
    assert board.exit_code == BUG_EXIT_CODE
    loader.stop()


def test_one_of_two_workers_is_not_the_server(classifier: Predictor) -> None:
    board = Board(workers=2)
    loader = Loader(lambda: ServedModel(classifier, Settings()), board, worker=1)
    loader.start()
    assert loader.wait(SOON) is State.READY
    assert not loader.ready
    board[0] = State.READY
    assert loader.ready
    loader.stop()


def failing(error: Exception) -> Callable[[], ServedModel]:
    def source() -> ServedModel:
        raise error

    return source
