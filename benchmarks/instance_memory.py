"""Measures a process's memory beside the tensors that `byoc-vision describe instances` counts, on a CPU.

    python benchmarks/instance_memory.py [--output FILE]

Each case runs in its own process: real training steps on random images, or real predictions of an artifact. The
benchmark takes the kernel's peak of resident memory (VmHWM), subtracts the memory after all imports, and compares the
rest with the count on fake tensors.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byoc_vision.types import ClassInfo, ModelSpec

if TYPE_CHECKING:
    from byoc_vision.describe.step_memory import StepMemory

MIB = 2**20


@dataclass(frozen=True)
class Case:
    purpose: str  # train, serve
    model: str
    encoder: str | None
    side: int
    batch_size: int
    optimizer: str = "adamw"

    @property
    def spec(self) -> ModelSpec:
        segments = self.model == "unet"
        return ModelSpec(
            task="segmentation" if segments else "classification",
            architecture=self.model,
            encoder=self.encoder,
            outputs=1 if segments else 10,
        )

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    def counted(self) -> StepMemory:
        from byoc_vision.describe.step_memory import inference_memory, training_memory

        if self.purpose == "train":
            return training_memory(self.spec, self.size, self.batch_size, optimizer=self.optimizer)
        return inference_memory(self.spec, self.size, self.batch_size)


CASES = (
    Case("train", "unet", None, 128, 8),
    Case("train", "unet", "mobilenet_v2", 192, 8),
    Case("train", "resnet50", None, 160, 8),
    Case("train", "mobilenetv2_100", None, 160, 16, "sgd"),
    Case("serve", "unet", "mobilenet_v2", 256, 8),
    Case("serve", "resnet50", None, 224, 8),
    Case("serve", "unet", None, 128, 8),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)  # for a process that measures itself
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        case = Case(**json.loads(options.case))
        print(json.dumps(train(case) if case.purpose == "train" else serve(case, options.folder)))
        return
    from common import write

    rows = []
    for case in CASES:
        rows.append(asdict(case) | compared(case))
        print(json.dumps(rows[-1]), flush=True)
        write(options.output, {"cases": rows})


def compared(case: Case) -> dict[str, Any]:
    """In MiB: the count, the process's memory before, and its peak above that."""
    counted = case.counted().peak
    with tempfile.TemporaryDirectory() as folder:
        if case.purpose == "serve":
            leave_artifact(case, Path(folder))
        command = [sys.executable, __file__, "--case", json.dumps(asdict(case)), "--folder", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    before, peak = json.loads(done.stdout.splitlines()[-1])
    return {
        "counted_mib": round(counted / MIB),
        "before_mib": round(before / MIB),
        "above_mib": round((peak - before) / MIB),
        "above / counted": round((peak - before) / counted, 2),
    }


def train(case: Case) -> tuple[int, int]:
    """The process's memory before two real steps and at its peak, in bytes."""
    import torch

    from byoc_vision.describe.step_memory import empty_batch, normalized, training_step
    from byoc_vision.models.build import build_model

    with torch.device("meta"):
        build_model(case.spec)  # imports its library
    before = memory("VmRSS")
    model = normalized(build_model(case.spec))
    step = training_step(case.spec, model, case.optimizer, torch.float32)
    step.begin()
    for _ in range(2):
        images, targets = empty_batch(case.spec, case.size, case.batch_size)
        step([(images.random_(), targets.zero_())])
    return before, memory("VmHWM")


def serve(case: Case, folder: Path) -> tuple[int, int]:
    """The process's memory before three predictions by the CPU's default engine and at its peak, in bytes."""
    import numpy as np

    from byoc_vision.inference.predictor import Predictor

    before = memory("VmRSS")
    predictor = Predictor.load(folder, "cpu")
    images = [np.full((*case.size, 3), 127, np.uint8)] * case.batch_size
    for _ in range(3):
        predictor.predict(images)
    return before, memory("VmHWM")


def memory(name: str) -> int:
    """A value of this process in bytes, from the kernel: proc_pid_status(5)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def leave_artifact(case: Case, folder: Path) -> None:
    """An artifact with random weights, like a job's, with its OpenVINO model."""
    from byoc_vision import artifact
    from byoc_vision.artifact import ModelConfig
    from byoc_vision.inference.openvino_model import export_openvino
    from byoc_vision.models.build import build_model
    from byoc_vision.preprocess import Preprocess

    segments = case.spec.task == "segmentation"
    values = [0, 255] if segments else [None] * case.spec.outputs
    config = ModelConfig(
        model=case.spec,
        classes=tuple(ClassInfo(name=f"class {index}", value=value) for index, value in enumerate(values)),
        activation="sigmoid" if segments else "softmax",
        preprocess=Preprocess(height=case.side, width=case.side),
    )
    artifact.save(folder, config, build_model(case.spec).state_dict())
    export_openvino(folder)


if __name__ == "__main__":
    main()
