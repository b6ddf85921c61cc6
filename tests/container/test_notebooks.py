"""The notebooks, from top to bottom in local mode on the real image, each in the venv of its SDK."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.containers import REPOSITORY, Docker
from support.servers import free_port

pytestmark = pytest.mark.slow

RUN = """if True:
    import sys
    import nbformat
    from nbclient import NotebookClient

    notebook, result = sys.argv[1:]
    book = nbformat.read(notebook, as_version=4)
    try:
        NotebookClient(book, timeout=400, kernel_name="python3").execute()
    finally:
        nbformat.write(book, result)
"""


@dataclass(frozen=True)
class Executed:
    """A notebook that ran to its end, and the port where its endpoint was."""

    cells: dict[str, list[dict[str, Any]]]
    port: int

    def text(self, cell: str) -> str:
        """What a cell printed, without what the SDK logged."""
        return "".join("".join(output["text"]) for output in self.cells[cell] if output.get("name") == "stdout")

    def data(self, cell: str, kind: str) -> str:
        (found,) = [output["data"][kind] for output in self.cells[cell] if kind in output.get("data", {})]
        return "".join(found)

    def image(self, cell: str) -> np.ndarray:
        """uint8 [H, W, 3]"""
        with Image.open(io.BytesIO(base64.b64decode(self.data(cell, "image/png")))) as image:
            return np.array(image.convert("RGB"))


def execute(name: str, version: int, docker: Docker, image: str, folder: Path) -> Executed:
    python = REPOSITORY / f".venv-sdk{version}/bin/python"
    assert python.exists(), f"{python} is missing: `make sdk-clients` makes it"
    port, client = free_port(), Path(docker.client)
    path = f"{client.parent}:{os.environ['PATH']}" if client.is_absolute() else os.environ["PATH"]
    wishes = {"LOCAL": "1", "IMAGE": image, "PORT": str(port), "WORK": str(folder / "work")}
    done = subprocess.run(
        [python, "-c", RUN, REPOSITORY / "examples" / name, folder / name],
        env={**os.environ, **wishes, "PATH": path, "TMPDIR": str(folder)},
        cwd=REPOSITORY / "examples",
    )
    cells = {cell["id"]: cell["outputs"] for cell in read(folder / name)["cells"] if cell["cell_type"] == "code"}
    running = docker.composed(folder)
    docker.remove_composed(folder)
    assert done.returncode == 0, json.dumps(cells, indent=1)
    assert not running, "the notebook left a container running"
    return Executed(cells, port)


def read(notebook: Path) -> dict[str, Any]:
    return dict(json.loads(notebook.read_text(encoding="utf-8")))


def check_the_end(executed: Executed) -> None:
    """The endpoint is gone."""
    assert re.search(r"^deleted byoc-vision-\S+$", executed.text("delete"), re.MULTILINE)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", executed.port), timeout=5)


def check_the_report(executed: Executed) -> None:
    shown = executed.data("report", "text/html")
    assert shown.startswith("<iframe srcdoc=")
    assert "&lt;html" in shown
    assert "http" not in re.findall(r"src=&quot;(\w+)", shown), "it works offline"


def test_segmentation(docker: Docker, image: str, tmp_path: Path) -> None:
    executed = execute("segmentation.ipynb", 2, docker, image, tmp_path)
    (dice,) = re.findall(r"Dice ([\d.]+)", executed.text("figures"))
    assert float(dice) > 0.85
    check_the_report(executed)
    assert "values [0, 255]" in executed.text("predict")
    plain, mask, drawn = np.split(executed.image("predict"), 3, axis=1)
    there = mask[..., 0] > 127
    assert 0.01 < there.mean() < 0.6
    difference = np.abs(drawn.astype(int) - plain).sum(axis=2)
    assert difference[there].mean() > 10 * difference[~there].mean(), "the mask is drawn where it is, and only there"
    check_the_end(executed)


def test_classification(docker: Docker, image: str, tmp_path: Path) -> None:
    executed = execute("classification.ipynb", 3, docker, image, tmp_path)
    (accuracy,) = re.findall(r"accuracy ([\d.]+)", executed.text("figures"))
    assert float(accuracy) > 0.85
    check_the_report(executed)
    answers = re.findall(r"(\w+): (\w+) \(\d+%\)", executed.text("predict"))
    assert [name for name, _ in answers] == ["circle", "square", "star", "triangle"]
    assert sum(name == answer for name, answer in answers) >= 3
    assert executed.image("predict").std() > 10
    check_the_end(executed)
