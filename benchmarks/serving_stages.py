"""Measures each stage of a request alone, in a process like the server's, and prints the times as JSON.

    .venv/bin/python benchmarks/serving_stages.py ROOT IMAGE …        (run by serving_limit.py)

decode, encode  CPU milliseconds per image with a thread on every core, as on a busy server
parts           the same, of what these two consist of
forward         CPU milliseconds per image, and images per second, by batch size
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from byoc_serve.encode import Encoder
from byoc_serve.response_format import ResponseFormat
from byoc_vision.data.decoding import decode, open_image, read_image
from byoc_vision.inference.predictor import Prediction, Predictor, Prepared
from byoc_vision.system.machine import available_cores, sleep_between_regions

SECONDS = 1.5  # of each measurement
BATCHES = (1, 4, 8, 16)


def on_every_core(work: Callable[[int], object], count: int) -> float:
    """CPU milliseconds per call of `work`, which is called with 0 … count - 1 in turn."""

    def repeat(thread: int) -> tuple[float, int]:
        calls, started, used = 0, time.perf_counter(), time.thread_time()
        while time.perf_counter() - started < SECONDS:
            work((thread + calls) % count)
            calls += 1
        return time.thread_time() - used, calls

    cores = available_cores()
    with ThreadPoolExecutor(cores) as threads:
        seen = list(threads.map(repeat, range(cores)))
    return 1000 * sum(used for used, _ in seen) / sum(calls for _, calls in seen)


def forward(predictor: Predictor, prepared: Sequence[Prepared], size: int) -> dict[str, float]:
    batch = np.stack([prepared[index % len(prepared)].pixels for index in range(size)])
    compute(predictor, batch)
    calls, started, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < SECONDS:
        compute(predictor, batch)
        calls += 1
    wall, used = time.perf_counter() - started, time.process_time() - used
    return {"cpu": 1000 * used / (calls * size), "rate": calls * size / wall}


def compute(predictor: Predictor, batch: np.ndarray) -> None:
    """Compute a batch; it also waits for a GPU."""
    if not isinstance(predictor.forward(batch), np.ndarray):
        import torch

        torch.cuda.synchronize()


def stages(root: Path, images: Sequence[bytes]) -> dict[str, Any]:
    cv2.setNumThreads(1)  # as in the server
    predictor = Predictor.load(root / "model", threads=available_cores())
    prepared = [predictor.prepare(read_image(image)) for image in images]
    logits = [predictor.forward(item.pixels[None])[0] for item in prepared]
    form = ResponseFormat.PNG if predictor.config.model.task == "segmentation" else ResponseFormat.JSON

    opened = [open_image(image) for image in images]
    decoded = [decode(each) for each in opened]
    predictions = [predictor.finish(*pair) for pair in zip(logits, prepared, strict=True)]

    def write(prediction: Prediction) -> None:
        encoder = Encoder(form)
        encoder.join([encoder.encode(prediction)], several=False)

    parts: dict[str, Callable[[int], object]] = {
        "header": lambda index: open_image(images[index]),
        "pixels": lambda index: decode(opened[index]),
        "resize": lambda index: predictor.prepare(decoded[index]),
        "restore": lambda index: predictor.finish(logits[index], prepared[index]),
        "write": lambda index: write(predictions[index]),
    }
    return {
        "engine": predictor.engine.name,
        "device": predictor.device,
        "decode": on_every_core(lambda index: predictor.prepare(read_image(images[index])), len(images)),
        "encode": on_every_core(lambda index: write(predictor.finish(logits[index], prepared[index])), len(images)),
        "parts": {name: on_every_core(part, len(images)) for name, part in parts.items()},
        "forward": {str(size): forward(predictor, prepared, size) for size in BATCHES},
    }


if __name__ == "__main__":
    sleep_between_regions()
    print(json.dumps(stages(Path(sys.argv[1]), [Path(path).read_bytes() for path in sys.argv[2:]])))
