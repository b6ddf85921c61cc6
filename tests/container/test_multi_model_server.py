"""Multi-model endpoints with AWS's multi-model-server, in an image that was built with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from support.containers import MULTI_MODEL, REPOSITORY, Container, Docker
from support.multi_model import Contract, ManyModels
from support.waiting import wait_until

pytestmark = pytest.mark.slow

WITH_MMS = "byoc-vision-mms:test"
CHOSEN = ("--env", "MULTI_MODEL_SERVER=mms")


@pytest.fixture(scope="module")
def with_mms(docker: Docker, image: str) -> Iterator[str]:
    """The image built once more, with multi-model-server: all layers up to the environment come from the cache."""
    name, _, tag = WITH_MMS.partition(":")
    subprocess.run(
        ["make", "build", "MULTI_MODEL_SERVER=1", f"DOCKER={docker.client}", f"IMAGE={name}", f"TAG={tag}",
         f"BASE_IMAGE={os.environ.get('BASE_IMAGE', '')}"],
        cwd=REPOSITORY,
        check=True,
    )  # fmt: skip
    yield WITH_MMS
    docker.run("rmi", "--force", docker.output("images", "--quiet", WITH_MMS))


class TestMultiModelServer(Contract):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, with_mms: str, serve_many: Callable[..., ManyModels]) -> ManyModels:
        """The image comes before the server: it is removed after the containers."""
        return serve_many(with_mms, *CHOSEN, own=False)


def test_the_server_ends_when_multi_model_server_does(start: Callable[..., Container], with_mms: str) -> None:
    """If it went on, an empty container would never be replaced."""
    container = start(*MULTI_MODEL, *CHOSEN, with_mms, "serve")
    wait_until(lambda: "Model server started" in container.logs)
    container.docker.run("exec", container.id, "sh", "-c", "kill -9 $(pidof java)")
    assert container.exit_status() == 1
    assert "ended by itself" in container.logs
