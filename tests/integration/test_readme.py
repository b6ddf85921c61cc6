"""The README's own commands, pasted into a shell: train, serve, ask, predict, evaluate."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import pytest
import requests
from support.datasets import camvid_tree, carvana_tree, oxford_pets_tree, polyvore_tree
from support.jobs import write_hyperparameters
from support.readme import commands
from support.servers import Server, free_port

from byoc_vision.data.sample_data import make_segmentation_set
from byoc_vision.paths import MlPaths

PORT = "8080"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a user stands: the job's folder, an image, and the environment that `make install` made."""
    paths = MlPaths(tmp_path / "job")
    make_segmentation_set(paths.channels, count_train=8, count_validation=2, size=64)
    for split in ("train", "validation"):
        inner = paths.channel(f"{split}-pictures")
        inner.mkdir()
        paths.channel(split).rename(inner / "images")
        paths.channel(f"{split}_annotation").rename(inner / "masks")
        inner.rename(paths.channel(split))
    write_hyperparameters(paths, {"model": "unet_small", "epochs": "1", "image_size": "32"})
    image = min((paths.channel("validation") / "images").iterdir())
    (tmp_path / "picture.jpg").write_bytes(image.read_bytes())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def test_the_commands_for_ones_own_images(folder: Path) -> None:
    port = str(free_port())
    lines = [line.replace(PORT, port) for line in commands("Your own images")]
    assert [line.split()[1] for line in lines if "byoc-vision" in line] == ["train", "serve", "predict", "evaluate"]
    server: Server | None = None
    try:
        for line in lines:
            if line.startswith("make "):
                continue  # tried by .ci/run
            if " serve " in line:
                log = folder / "serve.log"
                with log.open("wb") as file:
                    process = subprocess.Popen(line.split(), cwd=folder, stdout=file, stderr=file)
                server = Server(process, int(port), log)
                server.pings_until(requests.codes.ok)
            else:
                subprocess.run(["bash", "-ec", line], cwd=folder, check=True, timeout=100)
    finally:
        if server is not None:
            server.process.terminate()
            server.process.wait(timeout=40)
    size = cv2.imread(str(folder / "picture.jpg")).shape[:2]
    for answer in ("mask.png", "answers/picture.png", "answers/picture.overlay.png"):
        assert cv2.imread(str(folder / answer)).shape[:2] == size
    served, predicted = (
        cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) for name in ("mask.png", "answers/picture.png")
    )
    assert (served == predicted).all()


def test_the_commands_for_data_sets(folder: Path) -> None:
    archive(carvana_tree(folder / "kaggle"), folder, {"train": "train.zip", "train_masks": "train_masks.zip"})
    pets = oxford_pets_tree(folder / "oxford")
    archive(pets, folder, {"images": "images.tar.gz", "annotations": "annotations.tar.gz"})
    archive(camvid_tree(folder / "segnet" / "CamVid").parent, folder, {"CamVid": "CamVid.zip"})
    lines = commands("Layouts")
    assert [line.split()[1] for line in lines] == ["prepare"] * 4 + ["check"]
    for line in lines:
        if " polyvore " in line:
            clothing = polyvore_tree(folder / "polyvore", {"train": 50, "valid": 2, "test": 2})
            archive(clothing, folder, {"images": "images.tar.gz"})
            with tarfile.open(folder / "polyvore.tar.gz", "w:gz") as tar:
                for file in sorted(clothing.glob("*.*")):
                    tar.add(file, file.name)
        subprocess.run(["bash", "-ec", line], cwd=folder, check=True, timeout=100)
    for output in ("cars", "pets", "clothing", "streets"):
        assert {"train", "validation", "dataset.json"} <= {path.name for path in (folder / output).iterdir()}


def archive(tree: Path, folder: Path, names: dict[str, str]) -> None:
    """Each folder of a tree as the archive that people download."""
    for inner, name in names.items():
        stem, _, kind = name.partition(".")
        shutil.make_archive(str(folder / stem), "zip" if kind == "zip" else "gztar", tree, inner)
