"""Loads a model in a bare Python process, computes one batch, and prints the process's resident memory in MB.

.venv/bin/python benchmarks/serving_bare.py torch|openvino ROOT BATCH_SIZE f32|bf16      (run by serving_memory.py)

The last is the precision that OpenVINO computes in.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from processes import megabytes


def with_torch(artifact: Path, batch: np.ndarray, _: str) -> object:
    import torch
    from safetensors.torch import load_file

    model = json.loads((artifact / "model.json").read_text())["model"]
    if model["task"] == "segmentation":
        import segmentation_models_pytorch as smp

        network = smp.create_model(model["architecture"], encoder_name=model["encoder"], encoder_weights=None)
    else:
        import timm

        network = timm.create_model(model["architecture"], num_classes=model["outputs"])
    network.load_state_dict(load_file(artifact / "model.safetensors"))
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(batch).permute(0, 3, 1, 2).float()), network


def with_openvino(artifact: Path, batch: np.ndarray, hint: str) -> object:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    compiled = openvino.Core().compile_model(artifact / "openvino/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": hint})
    return compiled(batch), compiled


def main() -> None:
    engine, artifact, size = sys.argv[1], Path(sys.argv[2]) / "model", int(sys.argv[3])
    rule = json.loads((artifact / "model.json").read_text())["preprocess"]
    batch = np.zeros((size, rule["height"], rule["width"], 3), np.uint8)
    kept = {"torch": with_torch, "openvino": with_openvino}[engine](artifact, batch, sys.argv[4])
    print(megabytes(os.getpid(), "Rss"))
    del kept


if __name__ == "__main__":
    main()
