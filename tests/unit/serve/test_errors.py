"""Errors of the model: whose they are, and what becomes of the process. CUDA's are imitated, by name and by text."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient
from support.images import encode
from support.nets import predictor_of
from torch import Tensor, nn

from byoc_serve.app import create_app
from byoc_serve.batch import FatalError
from byoc_serve.errors import is_fatal, raise_fatal_errors
from byoc_serve.loader import Loader
from byoc_serve.model_service import ModelService
from byoc_serve.readiness import Readiness, State
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError, ResourceError
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.predictor import Classification, Predictor, Prepared
from byoc_vision.system.memory import is_out_of_memory

SOON = 60.0
WHITE = encode(np.full((8, 8, 3), 255, np.uint8))
BLACK = encode(np.zeros((8, 8, 3), np.uint8))


class AcceleratorError(RuntimeError):
    """As torch names it since 2.8."""


ILLEGAL = AcceleratorError(
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported …"
)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried …"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_not_fatal(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_fatal(error)


@pytest.mark.parametrize(
    "error",
    [
        ILLEGAL,
        AcceleratorError("whatever it says"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_a_lost_gpu_is_fatal(error: Exception) -> None:
    assert is_fatal(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x"), RuntimeError("shapes cannot be multiplied")])
def test_other_errors_are_neither(error: Exception) -> None:
    assert not is_fatal(error)
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), raise_fatal_errors():
        raise error


def test_a_client_s_error_is_never_fatal() -> None:
    with pytest.raises(RequestError), raise_fatal_errors():
        raise RequestError(400, "the image says CUDA error")


def test_the_message_is_the_error_s_first_line() -> None:
    first_line = "^the GPU failed: CUDA error: an illegal memory access was encountered$"
    with pytest.raises(FatalError, match=first_line), raise_fatal_errors():
        raise ILLEGAL


class Failing(nn.Module):
    """A classifier that raises an error at a white image, once its gate is open."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.gate, self.busy = error, Event(), Event()
        self.gate.set()

    def forward(self, images: Tensor) -> Tensor:
        self.busy.set()
        assert self.gate.wait(SOON)
        means = images.mean(dim=(2, 3))  # [N, 3]
        if (means.min(dim=1).values > 2).any():  # white, normalised
            raise self.error
        return means


def failing(classifier: Predictor, error: Exception) -> Predictor:
    return predictor_of(Failing(error), classifier.config)


def ask(client: FlaskClient, body: bytes) -> tuple[int, str]:
    response = client.application.test_client().post("/invocations", data=body, content_type="image/png")
    return response.status_code, response.get_data(as_text=True)


def test_out_of_memory_fails_one_request_alone(
    serve: Callable[[Predictor, Settings], FlaskClient], classifier: Predictor
) -> None:
    predictor = failing(classifier, torch.OutOfMemoryError("CUDA out of memory."))
    client = serve(predictor, Settings())
    net = predictor.engine.net
    assert isinstance(net, Failing)
    net.gate.clear()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(ask, client, BLACK)
        assert net.busy.wait(SOON)
        others = [pool.submit(ask, client, body) for body in (BLACK, WHITE, BLACK, BLACK)]
        net.gate.set()
        assert [answer.result(SOON)[0] for answer in (first, *others)] == [200, 200, 507, 200, 200]
    assert "memory does not suffice" in others[1].result()[1]
    assert client.get("/ping").status_code == 200


def serve_until_it_fails(source: Callable[[], ModelService], body: bytes) -> tuple[Readiness, FlaskClient]:
    """The server after it was asked something that it did not survive."""
    readiness, told = Readiness(), Event()
    loader = Loader(source, readiness, on_failure=told.set)
    loader.start()
    assert loader.wait(SOON) is State.READY
    client = create_app(Settings(), loader).test_client()
    status, text = ask(client, body)
    assert (status, "the GPU failed: CUDA error: an illegal memory access was encountered;" in text) == (503, True)
    assert told.wait(SOON), "the one that ends the process learns of it"
    loader.stop()
    return readiness, client


def test_a_lost_gpu_fails_the_health_check(classifier: Predictor) -> None:
    readiness, client = serve_until_it_fails(lambda: ModelService(failing(classifier, ILLEGAL), Settings()), WHITE)
    response = client.get("/ping")
    assert response.status_code == 500
    assert "an illegal memory access" in response.get_json()["error"]
    assert (readiness[0], readiness.exit_code) == (State.FAILED, ResourceError.exit_code)
    assert ask(client, BLACK)[0] == 500


def test_a_gpu_that_fails_when_results_are_fetched(classifier: Predictor) -> None:
    """CUDA works behind our back: `forward` returns before anything is computed."""

    class Late(Predictor):
        def finish(self, logits: Logits, prepared: Prepared, threshold: float | None = None) -> Classification:
            raise ILLEGAL

    predictor = predictor_of(classifier.engine.net, classifier.config, Late)
    predictor.warm_up = lambda batch_size: None  # type: ignore[method-assign]
    readiness, client = serve_until_it_fails(lambda: ModelService(predictor, Settings()), BLACK)
    assert client.get("/ping").status_code == 500
    assert readiness.exit_code == ResourceError.exit_code
