"""Real images and real pretrained weights, trained for minutes to figures far above chance.

The README states these figures; what is asserted leaves room for another processor's rounding.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.jobs import read_metrics, run_train
from support.recipes import faults, lay_out, weights

pytestmark = pytest.mark.real_data


@pytest.mark.timeout(400)
def test_clothing_with_a_pretrained_classifier(shared_data: Path, tmp_path: Path) -> None:
    """80 images of each of the ten classes, smaller and fewer epochs than the recipe's: chance is 0.1."""
    for folder in sorted((shared_data / "clothing" / "train").iterdir()):
        target = tmp_path / "train" / folder.name
        target.mkdir(parents=True)
        for image in sorted(folder.iterdir())[:80]:
            (target / image.name).symlink_to(image)
    channels = {
        "train": tmp_path / "train",
        "validation": shared_data / "clothing" / "validation",
        "pretrained": weights(shared_data, "mobilenetv2_100.timm.safetensors", tmp_path / "weights"),
    }
    paths = lay_out(tmp_path / "ml", channels, "clothing", {"image_size": "128", "epochs": "3"})
    assert run_train(paths) == 0
    results = read_metrics(paths)
    assert results["validation"]["accuracy"] > 0.74
    assert not faults(results)
