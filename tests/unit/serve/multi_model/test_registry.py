"""Models that come, are lent and go, with real small models and all that can cross."""

from __future__ import annotations

import gc
import io
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from support.nets import predictor_of
from support.waiting import wait_until
from torch import Tensor, nn

from byoc_serve.model_service import ModelService
from byoc_serve.multi_model.registry import Registry
from byoc_serve.request import RequestContext
from byoc_serve.settings import Settings
from byoc_vision.errors import DataError, RequestError, ResourceError
from byoc_vision.inference.predictor import Predictor

SOON = 60.0
FOLDER = Path("/opt/ml/models/x/model")

MakeRegistry = Callable[..., Registry]


@pytest.fixture
def make_registry(classifier: Predictor) -> Iterator[MakeRegistry]:
    """A registry whose models come from `source`; by default all are the classifier."""
    made: list[Registry] = []

    def make(source: Callable[[Path], ModelService] | None = None, unload_timeout: float = SOON) -> Registry:
        made.append(Registry(source or (lambda _: ModelService(classifier, Settings())), unload_timeout))
        return made[-1]

    yield make
    for registry in made:
        registry.stop()


def ask(registry: Registry, png: bytes, name: str = "x") -> int:
    """The status of a request."""
    try:
        with registry.acquire(name) as model:
            model.predict(RequestContext(io.BytesIO(png), len(png), "image/png"))
    except RequestError as error:
        return error.status
    return 200


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(RequestError) as raised:
        call()
    return raised.value.status


def test_loaded_lent_and_unloaded(make_registry: MakeRegistry, png: bytes) -> None:
    registry = make_registry()
    registry.load("x", FOLDER)
    assert registry.find("x") == str(FOLDER)
    assert ask(registry, png) == 200
    assert status_of(lambda: registry.load("x", FOLDER)) == 409
    registry.unload("x")
    assert ask(registry, png) == 404
    assert status_of(lambda: registry.find("x")) == status_of(lambda: registry.unload("x")) == 404


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("the weights are damaged"), 400),
        (ResourceError("the GPU's driver is too old"), 500),
        (RequestError(507, "no room"), 507),
        (MemoryError(), 507),
        (torch.OutOfMemoryError("CUDA out of memory"), 507),
        (KeyError("a bug"), 500),
    ],
)
def test_what_cannot_be_loaded_leaves_its_name_free(
    make_registry: MakeRegistry, classifier: Predictor, error: Exception, status: int
) -> None:
    errors = [error]

    def source(_: Path) -> ModelService:
        if errors:
            raise errors.pop()
        return ModelService(classifier, Settings())

    registry = make_registry(source)
    with pytest.raises(RequestError) as raised:
        registry.load("x", FOLDER)
    assert raised.value.status == status
    assert ("bug" in raised.value.message) is False  # whose details are for the log
    assert registry.page(None, 100) == ([], False)
    registry.load("x", FOLDER)


class Hungry(nn.Module):
    """Needs more memory than any machine has."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.empty(10**15, dtype=torch.uint8)


def test_a_model_whose_inputs_never_fit_is_400(make_registry: MakeRegistry, classifier: Predictor) -> None:
    """507 would make SageMaker unload the others, which are healthy."""
    hungry = predictor_of(Hungry(), classifier.config)
    registry = make_registry(lambda _: ModelService(hungry, Settings()))
    with pytest.raises(RequestError, match="model's inputs does not fit into this server's memory") as refused:
        registry.load("x", FOLDER)
    assert refused.value.status == 400


def test_nothing_of_an_unloaded_model_is_left(
    make_registry: MakeRegistry, classifier: Predictor, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "byoc_serve")  # a log may keep what it was given
    seen: list[weakref.ref[ModelService]] = []

    def source(_: Path) -> ModelService:
        model = ModelService(classifier, Settings())
        seen.append(weakref.ref(model))
        return model

    registry = make_registry(source)
    threads = threading.active_count()
    gc.disable()  # what is unloaded is gone, and not some time later
    try:
        for _ in range(3):
            registry.load("x", FOLDER)
            assert ask(registry, png) == 200
            assert ask(registry, b"no image") == 400
            registry.unload("x")
    finally:
        gc.enable()
    assert [model() for model in seen] == [None] * 3
    assert threading.active_count() == threads


class Gated(nn.Module):
    """A classifier that stands still until its gate is open, once it was warm."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.busy = threading.Event(), threading.Event()
        self.gate.set()

    def forward(self, images: Tensor) -> Tensor:
        self.busy.set()
        assert self.gate.wait(SOON)
        return images.mean(dim=(2, 3))


@pytest.fixture
def gated(classifier: Predictor) -> tuple[Predictor, Gated]:
    net = Gated()
    return predictor_of(net, classifier.config), net


def test_requests_in_flight_are_answered_before_their_model_goes(
    make_registry: MakeRegistry, gated: tuple[Predictor, Gated], png: bytes
) -> None:
    predictor, net = gated
    registry = make_registry(lambda _: ModelService(predictor, Settings()))
    registry.load("x", FOLDER)
    net.gate.clear()
    net.busy.clear()
    with ThreadPoolExecutor(4) as pool:
        try:
            asked = [pool.submit(ask, registry, png) for _ in range(3)]
            entry = registry._entries["x"]
            wait_until(lambda: entry.users == 3)
            leaving = pool.submit(registry.unload, "x")
            wait_until(lambda: entry.unloading)
            assert ask(registry, png) == 404, "new requests are refused"
            assert registry.page(None, 100) == ([], False)
            assert not leaving.done()
        finally:
            net.gate.set()
        leaving.result(SOON)
        assert [one.result(SOON) for one in asked] == [200] * 3


def test_unloading_waits_for_requests_with_a_limit(
    make_registry: MakeRegistry, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    registry = make_registry(unload_timeout=0.1)
    registry.load("x", FOLDER)
    with registry.acquire("x"):
        registry.unload("x")
    assert "while 1 requests still use it" in caplog.text
    assert ask(registry, png) == 404


def test_a_name_that_is_being_loaded_is_taken_and_says_try_again(
    make_registry: MakeRegistry, classifier: Predictor, png: bytes
) -> None:
    begun, may_load = threading.Event(), threading.Event()

    def source(_: Path) -> ModelService:
        begun.set()
        assert may_load.wait(SOON)
        return ModelService(classifier, Settings())

    registry = make_registry(source)
    with ThreadPoolExecutor(1) as pool:
        try:
            loading = pool.submit(registry.load, "x", FOLDER)
            assert begun.wait(SOON)
            assert status_of(lambda: registry.load("x", FOLDER)) == 409
            assert status_of(lambda: registry.unload("x")) == 404
            assert ask(registry, png) == 503
        finally:
            may_load.set()
        loading.result(SOON)
    assert ask(registry, png) == 200


def test_a_model_can_be_loaded_while_it_is_being_unloaded(
    make_registry: MakeRegistry, gated: tuple[Predictor, Gated], png: bytes
) -> None:
    predictor, net = gated
    registry = make_registry(lambda _: ModelService(predictor, Settings()))
    registry.load("x", FOLDER)
    net.gate.clear()
    net.busy.clear()
    with ThreadPoolExecutor(3) as pool:
        try:
            asked = pool.submit(ask, registry, png)
            assert net.busy.wait(SOON)
            leaving = pool.submit(registry.unload, "x")
            entry = registry._entries["x"]
            wait_until(lambda: entry.unloading)
            assert ask(registry, png) == 404
            back = pool.submit(registry.load, "x", FOLDER)
        finally:
            net.gate.set()
        assert asked.result(SOON) == 200
        leaving.result(SOON)
        back.result(SOON)
    assert ask(registry, png) == 200


class Greedy(nn.Module):
    """A classifier whose next batch wants more memory than there is, once it is hungry."""

    hungry = False

    def forward(self, images: Tensor) -> Tensor:
        if self.hungry:
            self.hungry = False
            torch.empty(2**50, dtype=torch.uint8)
        return images.mean(dim=(2, 3))


def test_a_request_that_finds_no_memory_gets_507_and_the_next_one_an_answer(
    make_registry: MakeRegistry, classifier: Predictor, png: bytes
) -> None:
    net = Greedy()
    registry = make_registry(lambda _: ModelService(predictor_of(net, classifier.config), Settings()))
    registry.load("x", FOLDER)
    net.hungry = True
    assert [ask(registry, png) for _ in range(2)] == [507, 200]


def test_a_model_whose_thread_ends_says_so_and_can_be_loaded_again(
    make_registry: MakeRegistry, classifier: Predictor, png: bytes
) -> None:
    class Breaking(ModelService):
        def run(self) -> None:
            raise RuntimeError("the queue is broken")

    models = [ModelService(classifier, Settings()), Breaking(classifier, Settings())]
    registry = make_registry(lambda _: models.pop())
    registry.load("x", FOLDER)
    loaded = registry._entries["x"].model
    assert loaded
    wait_until(lambda: loaded._failure)
    assert ask(registry, png) == 500
    registry.unload("x")
    registry.load("x", FOLDER)
    assert ask(registry, png) == 200


def test_pages_go_on_where_the_last_one_ended_whatever_came_and_went(make_registry: MakeRegistry) -> None:
    registry = make_registry()
    for name in "acbd":
        registry.load(name, FOLDER)
    page, more = registry.page(None, 2)
    assert ([name for name, _ in page], more) == (["a", "b"], True)
    registry.unload("b")
    registry.load("aa", FOLDER)
    page, more = registry.page("b", 2)
    assert ([name for name, _ in page], more) == (["c", "d"], False)
