"""A browser, real models with random weights, served, and images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from support.apps import app_of
from support.browser import PLAIN_HOST, Page, chromium, console, requested
from support.images import encode
from support.servers import (
    READY_LIMIT,
    free_port,
    save_classifier,
    save_many_classes,
    save_segmenter,
    save_tagger,
    start,
)

from byoc_serve.readiness import State

# The browser reports every response with an error status, and servers that are gone; a page cannot prevent that.
UNAVOIDABLE = re.compile(r"/(ping|invocations) - Failed to load resource: (the server responded|net::ERR_)")


@pytest.fixture(scope="session")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of servers, by what they answer: masks from the real one, with little patience for large bodies."""
    folder = tmp_path_factory.mktemp("served")
    save_many_classes(folder / "masks/model")
    save_classifier(folder / "labels/model")
    save_tagger(folder / "tags/model")
    save_segmenter(folder / "cars/model", size=32)
    with ExitStack() as stack:
        masks = stack.enter_context(start(folder / "masks", folder / "masks.log", {"MAX_PAYLOAD_MB": "1"}))
        urls = {}
        for name in ("labels", "tags", "cars"):
            port = free_port()
            loader = stack.enter_context(app_of(folder / name, port))
            loader.start()
            stack.callback(loader.stop)
            assert loader.wait(READY_LIMIT) is State.READY
            urls[name] = f"http://127.0.0.1:{port}"
        masks.pings_until(200)
        yield {"masks": masks.url, **urls}


@pytest.fixture(scope="session")
def driver(urls: dict[str, str]) -> Iterator[webdriver.Chrome]:
    """It ends before the servers do: they would wait for its connections."""
    with chromium() as driver:
        yield driver


@pytest.fixture
def visit(driver: webdriver.Chrome) -> Iterator[Callable[[str], Page]]:
    """The page of a server. Whatever a test does there, no other host is asked, and the console stays empty but for
    refusals that the page shows."""
    visited: list[Page] = []

    def visit(url: str) -> Page:
        visited.append(Page(driver, url))
        visited[-1].look()
        return visited[-1]

    yield visit
    driver.get("about:blank")
    hosts = tuple(host for page in visited for host in (page.url, f"blob:{page.url}", "data:image/png"))
    assert [url for url in requested(driver) if not url.startswith(hosts)] == []
    assert [line for line in console(driver) if not UNAVOIDABLE.search(line)] == []


@pytest.fixture
def masks(visit: Callable[[str], Page], urls: dict[str, str]) -> Page:
    return visit(urls["masks"]).open()


@pytest.fixture
def labels(visit: Callable[[str], Page], urls: dict[str, str]) -> Page:
    return visit(urls["labels"]).open()


@pytest.fixture
def tags(visit: Callable[[str], Page], urls: dict[str, str]) -> Page:
    return visit(urls["tags"]).open()


@pytest.fixture
def cars(visit: Callable[[str], Page], urls: dict[str, str]) -> Page:
    """Masks of two classes, which a threshold tells apart."""
    return visit(urls["cars"]).open()


@pytest.fixture
def untrusted(visit: Callable[[str], Page], urls: dict[str, str]) -> Page:
    """The page as it is over http from another machine: the browser keeps camera and clipboard from it."""
    return visit(urls["labels"].replace("127.0.0.1", PLAIN_HOST)).open()


@pytest.fixture(scope="session")
def rgb() -> np.ndarray:
    """Blocks of many colours, uint8 [90, 120, 3]: every class of the models has some."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="session")
def image(folder: Path, rgb: np.ndarray) -> Path:
    """With a name that a shell could misread."""
    path = folder / "it's a $HOME image.png"
    path.write_bytes(encode(rgb))
    return path
