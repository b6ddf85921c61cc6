"""What a network takes per image in each precision that OpenVINO can serve it in, on one thread.

    python benchmarks/precisions.py [--output benchmarks/results/precisions.json]

ResNet-18 and MobileNetV2 at 224, a U-Net with ResNet-18 at 256, with random weights: a time does not depend on their
values. INT8 is made as a training job makes it. The engines take turns and the shortest run counts, so that other work
on the machine disturbs all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from common import cpu_flags, processor

from byoc_vision.artifact import ModelConfig
from byoc_vision.export.openvino import to_openvino
from byoc_vision.inference.engines.fastest import shortest_times
from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine
from byoc_vision.inference.reference import reference_images
from byoc_vision.models.build import build_model
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.machine import has_bfloat16
from byoc_vision.training.quantization import quantize
from byoc_vision.types import ClassInfo, ModelSpec

ROUNDS = 5
NETWORKS = {
    "ResNet-18 at 224": (ModelSpec(task="classification", architecture="resnet18", outputs=10), 224),
    "MobileNetV2 at 224": (ModelSpec(task="classification", architecture="mobilenetv2_100", outputs=10), 224),
    "U-Net/ResNet-18 at 256": (
        ModelSpec(task="segmentation", architecture="unet", encoder="resnet18", outputs=1),
        256,
    ),
}


def config_of(spec: ModelSpec, size: int) -> ModelConfig:
    count = spec.outputs if spec.task == "classification" else 2
    return ModelConfig(
        model=spec,
        classes=tuple(ClassInfo(name=f"class {index}") for index in range(count)),
        activation="softmax" if spec.task == "classification" else "sigmoid",
        preprocess=Preprocess(height=size, width=size),
    )


def measure(spec: ModelSpec, size: int) -> dict[str, float]:
    """Milliseconds per image, by precision."""
    config = config_of(spec, size)
    model = to_openvino(build_model(spec).eval(), config)
    images = reference_images(config.preprocess)
    engines = [OpenVinoEngine(model, 1, precision="float32")]
    engines += [OpenVinoEngine(model, 1, precision="bfloat16")] if has_bfloat16() else []
    engines += [OpenVinoEngine(quantize(model, list(images)), 1, precision="int8")]
    for engine in engines:
        engine.run(images[:1])
    times = np.min([shortest_times(engines, images[:1]) for _ in range(ROUNDS)], axis=0)
    return {engine.precision: round(1000 * float(seconds), 2) for engine, seconds in zip(engines, times, strict=True)}


def cpu() -> dict[str, str]:
    restricted = {"ONEDNN_MAX_CPU_ISA": isa} if (isa := os.environ.get("ONEDNN_MAX_CPU_ISA")) else {}
    return {"model": processor(), "flags": cpu_flags()} | restricted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the times there, as JSON")
    output: Path | None = parser.parse_args().output
    found = {name: measure(*network) for name, network in NETWORKS.items()}
    content = {"cpu": cpu(), "threads": 1, "milliseconds_per_image": found}
    text = json.dumps(content, indent=2) + "\n"
    print(text, end="")
    if output:
        output.write_text(text)


if __name__ == "__main__":
    main()
