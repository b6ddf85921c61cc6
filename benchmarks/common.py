"""Shared by the training benchmarks: drawn images of common sizes, and a description of the machine."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from byoc_vision.data.sample_data import draw_scene
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.types import ClassInfo, Task

CARVANA, PET = (1280, 1918), (375, 500)  # height, width
CLASSES: dict[Task, tuple[ClassInfo, ...]] = {
    "segmentation": (ClassInfo("background", 0), ClassInfo("object", 255)),
    "classification": tuple(ClassInfo(f"class_{index}") for index in range(10)),
}
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "bf16")
_DRAWN = 16  # different images; the others are copies, each in its own file


def draw(folder: Path, task: Task, count: int, size: tuple[int, int]) -> Dataset:
    """`count` JPEG images of `size`, with PNG masks or one of ten labels; a few of them are for validation."""
    encoded = [encode(size, index) for index in range(min(_DRAWN, count))]
    samples = []
    for index in range(count):
        image, mask = encoded[index % len(encoded)]
        paths = folder / "pictures" / f"{index:06}.jpg", folder / "masks" / f"{index:06}_mask.png"
        for path, content in zip(paths, (image, mask), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if task == "segmentation":
            samples.append(Sample(paths[0], mask=paths[1]))
        else:
            samples.append(Sample(paths[0], label=index % 10))
    return Dataset(task, CLASSES[task], tuple(samples), tuple(samples[:2]))


def encode(size: tuple[int, int], seed: int) -> tuple[bytes, bytes]:
    """A drawn image of `size`, height and width, as JPEG, and its mask as PNG."""
    image, mask = draw_scene(*size, np.random.default_rng(seed))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 75])
    _, png = cv2.imencode(".png", mask)
    return jpeg.tobytes(), png.tobytes()


def about() -> dict[str, Any]:
    """The date, the hardware and the versions of the measurements."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cpu_flags": cpu_flags(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }


def processor() -> str:
    return _of_first_core("model name") or platform.processor() or platform.machine()


def cpu_flags() -> str:
    """Those of the instructions that decide how fast a precision is."""
    flags = (_of_first_core("flags") or _of_first_core("Features")).split()  # x86 or ARM
    return " ".join(flag for flag in _FLAGS if flag in flags)


def _of_first_core(name: str) -> str:
    """A value in /proc/cpuinfo; empty without it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


def write(path: Path | None, results: Mapping[str, Any]) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(about() | results, indent=2) + "\n")


def exit_on_terminate() -> None:
    """Let SIGTERM end this process and those that it waits for, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
