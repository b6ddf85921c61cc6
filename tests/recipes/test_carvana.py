"""Real images and real pretrained weights, trained for minutes to figures far above chance.

The README states these figures; what is asserted leaves room for another processor's rounding.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.jobs import read_metrics, run_train
from support.recipes import faults, lay_out, weights

from byoc_vision.cli import main

pytestmark = pytest.mark.real_data


@pytest.mark.timeout(400)
def test_carvana_with_a_pretrained_encoder(shared_data: Path, tmp_path: Path) -> None:
    cars = shared_data / "carvana"
    channels = {name: cars / name for name in ("train", "train_masks", "validation", "validation_masks")}
    channels["pretrained"] = weights(shared_data, "mobilenet_v2.torchvision.safetensors", tmp_path / "weights")
    paths = lay_out(tmp_path / "ml", channels, "carvana_mobilenet")
    assert run_train(paths) == 0
    results = read_metrics(paths)
    assert results["validation"]["dice"] > 0.94
    assert not faults(results)

    image = min((cars / "validation").iterdir())
    assert (
        main(["predict", "--model", str(paths.model), "--output", str(tmp_path / "out"), "--overlay", str(image)]) == 0
    )
    mask = cv2.imread(str(tmp_path / "out" / f"{image.stem}.png"), cv2.IMREAD_UNCHANGED)
    sent = cv2.imread(str(image), cv2.IMREAD_UNCHANGED)
    assert mask.shape == sent.shape[:2]
    assert set(np.unique(mask)) == {0, 1}, "the values of the training masks"
