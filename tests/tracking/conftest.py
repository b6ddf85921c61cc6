"""A real MLflow server. `make test-mlflow` puts the program into .venv-mlflow; MLFLOW_PROGRAM=… names another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mlflow_server import Server, started

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("MLFLOW_PROGRAM", REPOSITORY / ".venv-mlflow/bin/mlflow"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Fails, never skips, where there is none: the caller asked for these tests."""
    if not PROGRAM.is_file():
        pytest.fail(f"there is no {PROGRAM}: `make test-mlflow` makes it")
    with started(PROGRAM, tmp_path_factory.mktemp("mlflow")) as server:
        yield server
