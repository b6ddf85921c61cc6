"""From STARTING to READY or FAILED, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from support.engines import FLOAT32, openvino_name
from support.servers import save_classifier

from byoc_serve.loader import INTERNAL_ERROR_EXIT_CODE, Loader, load_model, load_one_of_many
from byoc_serve.model_service import ModelService
from byoc_serve.readiness import Readiness, State
from byoc_serve.settings import Settings
from byoc_vision.errors import DataError, RequestError
from byoc_vision.inference.engines.base import NamedPrecision
from byoc_vision.inference.predictor import Predictor
from byoc_vision.system.machine import available_cores, share_of_cores

SOON = 60.0


def status_of(loader: Loader) -> int:
    with pytest.raises(RequestError) as raised:
        _ = loader.model
    return raised.value.status


def test_a_model_is_loaded_once_and_then_ready(classifier: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    may_load, loads = Event(), []

    def source() -> ModelService:
        assert may_load.wait(SOON)
        loads.append(1)
        return ModelService(classifier, Settings())

    readiness = Readiness()
    loader = Loader(source, readiness)
    assert (readiness[0], loader.ready, status_of(loader)) == (State.STARTING, False, 503)
    loader.start()
    assert (readiness[0], loader.ready, status_of(loader)) == (State.STARTING, False, 503)
    with caplog.at_level(logging.INFO, "byoc_serve"):
        may_load.set()
        assert loader.wait(SOON) is State.READY
    assert loader.ready
    assert loader.model is loader.model
    assert loads == [1]
    assert "test, classification, 3 classes, torch float32 on cpu" in caplog.text
    loader.stop()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_settings_name_the_precision(tmp_path: Path, precision: NamedPrecision) -> None:
    save_classifier(tmp_path / "model", for_cpus=True)
    model = load_model(Settings(root=tmp_path, engine="openvino", precision=precision), 0)
    computed = openvino_name(tmp_path / "model", precision)
    assert str(model) == f"resnet10t, classification, 3 classes, {computed} on cpu"


def test_one_of_many_models_takes_float32_unmeasured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_classifier(tmp_path, for_cpus=True)
    with caplog.at_level(logging.INFO):
        model = load_one_of_many(tmp_path, Settings(), "cpu")
    assert str(model) == f"resnet10t, classification, 3 classes, {FLOAT32} on cpu"
    assert "per image" not in caplog.text


def test_stopping_while_loading_ends_the_thread(classifier: Predictor) -> None:
    loader = Loader(lambda: ModelService(classifier, Settings()), Readiness())
    loader.start()
    loader.stop()
    assert loader.wait(0) is State.READY


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (DataError("/opt/ml/model holds no model"), DataError.exit_code, "/opt/ml/model holds no model"),
        (KeyError("oops"), INTERNAL_ERROR_EXIT_CODE, "KeyError: 'oops'"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_reported(
    error: Exception, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    readiness, told = Readiness(), Event()
    loader = Loader(failing(error), readiness, on_failure=told.set)
    loader.start()
    assert loader.wait(SOON) is State.FAILED
    assert told.wait(SOON)
    assert (loader.failure, readiness.exit_code, loader.ready, status_of(loader)) == (reason, code, False, 500)
    assert f"the model cannot be served: {reason}" in caplog.messages
    assert ("Traceback" in caplog.text) == (code == INTERNAL_ERROR_EXIT_CODE)
    loader.stop()


def test_a_model_whose_thread_ends_is_no_longer_ready(classifier: Predictor) -> None:
    class Breaking(ModelService):
        def run(self) -> None:
            raise RuntimeError("the queue is broken")

    readiness, told = Readiness(), Event()
    loader = Loader(lambda: Breaking(classifier, Settings()), readiness, on_failure=told.set)
    loader.start()
    assert told.wait(SOON)
    assert (loader.failure, loader.ready, status_of(loader)) == ("RuntimeError: the queue is broken", False, 500)
    assert readiness.exit_code == INTERNAL_ERROR_EXIT_CODE
    loader.stop()


def test_one_of_two_workers_is_not_the_server(classifier: Predictor) -> None:
    readiness = Readiness(workers=2)
    loader = Loader(lambda: ModelService(classifier, Settings()), readiness, worker=1)
    loader.start()
    assert loader.wait(SOON) is State.READY
    assert not loader.ready
    readiness[0] = State.READY
    assert loader.ready
    loader.stop()


def failing(error: Exception) -> Callable[[], ModelService]:
    def source() -> ModelService:
        raise error

    return source


def test_a_model_that_does_not_fit_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    def source() -> ModelService:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    readiness = Readiness()
    loader = Loader(source, readiness)
    loader.start()
    assert loader.wait(SOON) is State.FAILED
    assert readiness.exit_code == 4
    assert "memory does not suffice for the model and batches of BATCH_SIZE images" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("cores", "workers", "share"), [(8, 0, 8), (8, 1, 8), (8, 4, 2), (2, 4, 1)])
def test_the_workers_of_a_machine_divide_its_cores(cores: int, workers: int, share: int) -> None:
    """One for each GPU: if each took all of them, decoding would hold up all the others."""
    assert share_of_cores(cores, workers) == share


@pytest.mark.parametrize("workers", [1, 4])
def test_as_many_requests_decode_at_once_as_a_worker_has_cores(classifier: Predictor, workers: int) -> None:
    cores = ModelService(classifier, Settings(workers=workers))._pipeline._cores
    share = share_of_cores(available_cores(), workers)
    assert [cores.acquire(blocking=False) for _ in range(share + 1)] == [*[True] * share, False]
