"""Multi-model endpoints from the image, with our own server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from support.containers import MULTI_MODEL, Container
from support.multi_model import LIMIT, Contract, ManyModels
from support.servers import save_classifier

ServeMany = Callable[..., ManyModels]


class TestOwnServer(Contract):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, serve_many: ServeMany, image: str) -> ManyModels:
        return serve_many(image)


def test_a_full_container_has_room_again_when_a_model_leaves(
    serve_many: ServeMany, image: str, many_models: Path
) -> None:
    """SageMaker loads models until it gets a 507; then it unloads another model and asks again."""
    save_classifier(many_models / "wide/model", "wide_resnet50_2")
    server = serve_many(image, "--memory", "1500m")
    loaded = []
    while (answer := server.load(f"wide{len(loaded)}", "wide")).status_code == 200:
        loaded.append(f"wide{len(loaded)}")
        assert len(loaded) < 10
    assert answer.status_code == 507
    assert "unload another" in answer.json()["error"]
    assert loaded
    assert server.names() == loaded
    assert server.unload(loaded[0]).status_code == 200
    assert server.load("next", "wide").status_code == 200
    assert server.ask("next").status_code == 200
    assert requests.get(f"{server.url}/ping", timeout=LIMIT).status_code == 200


def test_an_image_without_multi_model_server_names_the_build_argument(
    start: Callable[..., Container], image: str
) -> None:
    container = start(*MULTI_MODEL, "--env", "MULTI_MODEL_SERVER=mms", image, "serve")
    assert container.exit_status() == 2
    assert "--build-arg MULTI_MODEL_SERVER=1" in container.logs
