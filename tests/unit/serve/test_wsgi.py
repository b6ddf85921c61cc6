"""The app as the environment wants it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.servers import save_segmenter

from byoc_serve.readiness import State
from byoc_serve.wsgi import make_app

SOON = 60.0


def test_the_model_of_the_environment_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_segmenter(tmp_path / "model")
    monkeypatch.setenv("ML_ROOT", str(tmp_path))
    app = make_app()
    loader = app.extensions["loader"]
    assert loader.wait(SOON) is State.READY
    assert app.test_client().get("/ping").status_code == 200
    loader.stop()


def test_a_missing_model_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ROOT", str(tmp_path))
    app = make_app()
    assert app.extensions["loader"].wait(SOON) is State.FAILED
    response = app.test_client().get("/ping")
    assert response.status_code == 500
    assert f"{tmp_path / 'model'} does not exist" in response.get_json()["error"]
