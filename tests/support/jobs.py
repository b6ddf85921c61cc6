"""Training jobs as tests set them up, run them and look at what they leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from byoc_vision.cli import main
from byoc_vision.paths import MlPaths

# What takes seconds at the beginning and the end of a job, and has tests of its own. A precision that is measured might
# differ between two runs that are compared.
QUICK = {"precision": "float32", "openvino": "false", "report": "false", "tensorboard": "false"}


def write_hyperparameters(paths: MlPaths, hyperparameters: Mapping[str, str]) -> None:
    paths.hyperparameters.parent.mkdir(parents=True, exist_ok=True)
    paths.hyperparameters.write_text(json.dumps(dict(hyperparameters)), encoding="utf-8")


def run_train(paths: MlPaths) -> int:
    """`byoc-vision train` in this process; its exit status."""
    return main(["train", "--root", str(paths.root)])


def read_metrics(paths: MlPaths) -> dict[str, Any]:
    """The content of the job's metrics.json."""
    return dict(json.loads((paths.output_data / "metrics.json").read_text(encoding="utf-8")))
