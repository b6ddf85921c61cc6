"""The commands of the README, pasted into a shell: train, serve, predict, evaluate; and those of docs/data.md."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import pytest
import requests
from support.datasets import camvid_tree, carvana_tree, oxford_pets_tree, polyvore_tree
from support.readme import DATA, commands
from support.servers import Server, free_port

from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_segmentation_set

PORT = "8080"
HYPERPARAMETERS = "epochs=20 image_size=256"
SMALL = "model=unet_small epochs=1 image_size=32"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's working directory: labelled images, one image, and the environment that `make install` creates."""
    drawn = tmp_path / "drawn"
    make_segmentation_set(drawn, count_train=10, count_validation=2, size=64)
    for split, name in (("train", "my_images"), ("validation", "labelled_images")):
        (tmp_path / name).mkdir()
        (drawn / split).rename(tmp_path / name / "images")
        (drawn / f"{split}_annotation").rename(tmp_path / name / "masks")
    image = min((tmp_path / "labelled_images/images").iterdir())
    (tmp_path / "image.jpg").write_bytes(image.read_bytes())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def test_the_commands_for_your_own_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # without bfloat16: each process takes what it measures as fastest
    port = str(free_port())
    lines = [line.replace(PORT, port).replace(HYPERPARAMETERS, SMALL) for line in commands("Your own images")]
    assert any(SMALL in line for line in lines)
    assert [line.split()[1] for line in lines if "byoc-vision" in line] == ["train", "serve", "predict", "evaluate"]
    server: Server | None = None
    try:
        for line in lines:
            if line.startswith("make "):
                continue  # run by .ci/run
            if " serve " in line:
                log = folder / "serve.log"
                with log.open("wb") as file:
                    process = subprocess.Popen(line.split(), cwd=folder, stdout=file, stderr=file)
                server = Server(process, int(port), log)
                server.pings_until(requests.codes.ok)
            else:
                subprocess.run(["bash", "-ec", line], cwd=folder, check=True)
    finally:
        if server is not None:
            server.process.terminate()
            server.process.wait(timeout=40)
    size = cv2.imread(str(folder / "image.jpg")).shape[:2]
    for prediction in ("mask.png", "predictions/image.png", "predictions/image.overlay.png"):
        assert cv2.imread(str(folder / prediction)).shape[:2] == size
    served, predicted = (
        cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) for name in ("mask.png", "predictions/image.png")
    )
    assert (served == predicted).all()


def test_the_commands_for_data_sets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a shell, whose processes would import the same libraries five times."""
    monkeypatch.chdir(folder)
    archive(carvana_tree(folder / "kaggle"), folder, {"train": "train.zip", "train_masks": "train_masks.zip"})
    pets = oxford_pets_tree(folder / "oxford")
    archive(pets, folder, {"images": "images.tar.gz", "annotations": "annotations.tar.gz"})
    archive(camvid_tree(folder / "segnet" / "CamVid").parent, folder, {"CamVid": "CamVid.zip"})
    data = folder / "job/input/data"
    data.mkdir(parents=True)
    (folder / "my_images").rename(data / "train")
    lines = commands("From the archives", DATA) + commands("Checks before training", DATA)
    assert [line.split()[1] for line in lines] == ["prepare"] * 4 + ["check"]
    for line in lines:
        if " polyvore " in line:
            clothing = polyvore_tree(folder / "polyvore", {"train": 50, "valid": 2, "test": 2})
            archive(clothing, folder, {"images": "images.tar.gz"})
            with tarfile.open(folder / "polyvore.tar.gz", "w:gz") as tar:
                for file in sorted(clothing.glob("*.*")):
                    tar.add(file, file.name)
        command, *arguments = shlex.split(line)
        assert Path(command).name == "byoc-vision"
        assert main(arguments) == 0
    for output in ("cars", "pets", "clothing", "streets"):
        assert {"train", "validation", "dataset.json"} <= {path.name for path in (folder / output).iterdir()}


def archive(tree: Path, folder: Path, names: dict[str, str]) -> None:
    """Each folder of a tree as the archive that people download."""
    for inner, name in names.items():
        stem, _, kind = name.partition(".")
        shutil.make_archive(str(folder / stem), "zip" if kind == "zip" else "gztar", tree, inner)
