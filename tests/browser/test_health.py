"""What the page says of a server that is not ready, or no more there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.apps import app_of
from support.browser import Page
from support.servers import free_port, save_classifier

pytestmark = pytest.mark.timeout(300)


def test_it_opens_when_the_model_is_loaded(visit: Callable[[str], Page], tmp_path: Path, image: Path) -> None:
    save_classifier(tmp_path / "model")
    port = free_port()
    with app_of(tmp_path, port) as loader:
        page = visit(f"http://127.0.0.1:{port}").open(wait=False)
        page.until(lambda: page["health"].text == "Loading the model…")
        assert not page["file"].is_enabled()
        assert not page["camera"].is_enabled()
        page.drop(image)
        loader.start()
        page.until(lambda: page["health"].text == "Ready")
        assert page["file"].is_enabled()
        assert page["camera"].is_enabled()
        page.choose(image).answered(image.name)
        loader.stop()


def test_it_works_behind_a_prefix(visit: Callable[[str], Page], tmp_path: Path, image: Path) -> None:
    save_classifier(tmp_path / "model")
    port = free_port()
    with app_of(tmp_path, port, "/proxy/8080") as loader:
        loader.start()
        page = visit(f"http://127.0.0.1:{port}/proxy/8080").open()
        page.choose(image).answered(image.name)
        assert f"{page.url}/invocations" in page["curl"].text
        loader.stop()


def test_a_model_that_cannot_be_loaded_is_reported(visit: Callable[[str], Page], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    port = free_port()
    with app_of(tmp_path, port) as loader:
        page = visit(f"http://127.0.0.1:{port}").open(wait=False)
        loader.start()
        page.until(lambda: page["health"].text == "The model cannot be served")
        assert f"{tmp_path / 'model'} holds no model" in page["reason"].text
        assert not page["file"].is_enabled()


def test_a_server_that_goes_and_comes_back(visit: Callable[[str], Page], tmp_path: Path, image: Path) -> None:
    save_classifier(tmp_path / "model")
    port = free_port()
    with app_of(tmp_path, port) as loader:
        loader.start()
        page = visit(f"http://127.0.0.1:{port}").open()
        loader.stop()
    page.choose(image)
    page.until(lambda: page["health"].text == "The server does not respond")
    assert page["again"].is_displayed()
    with app_of(tmp_path, port) as loader:
        loader.start()
        page.until(lambda: page["health"].text == "Ready")
        page["again"].click()
        page.answered(image.name)
        assert not page["error"].is_displayed()
        loader.stop()
