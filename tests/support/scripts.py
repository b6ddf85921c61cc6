"""Inference scripts for the tests, and the app around one, asked in-process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest
from flask.testing import FlaskClient

from byoc_serve.app import create_app
from byoc_serve.loader import Loader, load_script
from byoc_serve.readiness import Readiness, State
from byoc_serve.scripts.source import find_script
from byoc_serve.settings import Settings

SOON = 60.0  # seconds; far more than any of these takes


def write_script(root: Path, code: str, name: str = "model/code/inference.py") -> Path:
    """A script below a folder laid out as /opt/ml; the model's folder."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(code), encoding="utf-8")
    return root / "model"


@contextmanager
def loading(model: Path, settings: Settings) -> Iterator[Loader]:
    """A loader that has tried to load the script of a model's folder."""
    script = find_script(model, {}, model / "scratch")
    assert script is not None
    loader = Loader(partial(load_script, settings, script, 0), Readiness())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("PYTHONPATH", "")
        loader.start()
        assert loader.wait(SOON) is not State.STARTING
        try:
            yield loader
        finally:
            loader.stop()


@contextmanager
def serving_script(model: Path, **settings: object) -> Iterator[FlaskClient]:
    """A client of the app around the script of a model's folder."""
    chosen = Settings(root=model.parent, **settings)  # type: ignore[arg-type]
    with loading(model, chosen) as loader:
        assert loader.failure is None, loader.failure
        yield create_app(chosen, loader, has_script=True).test_client()
