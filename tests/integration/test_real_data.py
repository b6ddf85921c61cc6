"""Real pictures and real pretrained weights, trained for minutes to figures far above chance.

The README states these figures; what is asserted leaves room for another processor's rounding.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from byoc_vision.cli import main
from byoc_vision.paths import MlPaths

pytestmark = pytest.mark.real_data


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def lay_out(root: Path, channels: dict[str, Path], recipe: str) -> MlPaths:
    paths = MlPaths(root)
    paths.channels.mkdir(parents=True)
    for name, source in channels.items():
        paths.channel(name).symlink_to(source)
    paths.hyperparameters.parent.mkdir(parents=True)
    paths.hyperparameters.write_bytes((EXAMPLES / recipe / "hyperparameters.json").read_bytes())
    return paths


def weights(folder: Path, name: str, target: Path) -> Path:
    """A `pretrained` channel with one file."""
    target.mkdir()
    (target / name).symlink_to(folder / "weights" / name)
    return target


@pytest.mark.timeout(400)
def test_carvana_with_a_pretrained_encoder(shared_data: Path, tmp_path: Path) -> None:
    cars = shared_data / "carvana"
    channels = {name: cars / name for name in ("train", "train_masks", "validation", "validation_masks")}
    channels["pretrained"] = weights(shared_data, "mobilenet_v2.torchvision.safetensors", tmp_path / "weights")
    paths = lay_out(tmp_path / "ml", channels, "carvana")
    assert main(["train", "--root", str(paths.root)]) == 0
    results = json.loads((paths.output_data / "metrics.json").read_text())
    assert results["validation"]["dice"] > 0.94

    picture = min((cars / "validation").iterdir())
    assert (
        main(["predict", "--model", str(paths.model), "--output", str(tmp_path / "out"), "--overlay", str(picture)])
        == 0
    )
    mask = cv2.imread(str(tmp_path / "out" / f"{picture.stem}.png"), cv2.IMREAD_UNCHANGED)
    sent = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
    assert mask.shape == sent.shape[:2]
    assert set(np.unique(mask)) == {0, 1}, "the values of the training masks"


@pytest.mark.timeout(400)
def test_clothing_with_a_pretrained_classifier(shared_data: Path, tmp_path: Path) -> None:
    """80 pictures of each of the ten classes: chance is 0.1."""
    for folder in sorted((shared_data / "clothing" / "train").iterdir()):
        target = tmp_path / "train" / folder.name
        target.mkdir(parents=True)
        for picture in sorted(folder.iterdir())[:80]:
            (target / picture.name).symlink_to(picture)
    channels = {
        "train": tmp_path / "train",
        "validation": shared_data / "clothing" / "validation",
        "pretrained": weights(shared_data, "mobilenetv2_100.timm.safetensors", tmp_path / "weights"),
    }
    paths = lay_out(tmp_path / "ml", channels, "clothing")
    assert main(["train", "--root", str(paths.root)]) == 0
    results = json.loads((paths.output_data / "metrics.json").read_text())
    assert results["validation"]["accuracy"] > 0.74
