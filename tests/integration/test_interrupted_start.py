"""Ctrl-C in the first seconds of a command, while it still imports its libraries: one line, and its own status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.tiny_models import classification_card, network, save

from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.preprocess import Preprocess

# Ctrl-C arrives when the module that argv[1] names is about to be imported.
PROGRAM = """if True:
    import os, signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell starts with it ignored
    wanted, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == wanted:
                print(f"importing {name}", flush=True)
                os.kill(os.getpid(), signal.SIGINT)
    sys.meta_path.insert(0, Finder())
    from byoc_vision.__main__ import main
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    make_classification_set(folder, count_train=12, count_validation=2, size=32)
    config = classification_card(Preprocess(height=32, width=32))
    save(folder / "model", config, network(config))
    return folder


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("byoc_vision.cli", "check train"),
        ("numpy", "check train"),
        ("torch", "train train"),
        ("byoc_vision.training.build", "train train"),
        ("torch", "predict --model model --output out train"),
        ("gunicorn.app.base", "serve --root ."),
        ("optuna", "tune --recipe classification --data train"),
    ],
)
def test_one_line(place: Path, module: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, *command.split()], cwd=place, capture_output=True, text=True
    )
    said = (done.stdout + done.stderr).splitlines()
    begun = said.index(f"importing {module}")
    assert len(said) == begun + 2, said
    assert done.returncode in (130, 143)
