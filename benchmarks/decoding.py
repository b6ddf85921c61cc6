"""Compares the time to read an image with our reader (checked, upright, RGB), with plain OpenCV and with Pillow.

    .venv/bin/python benchmarks/decoding.py [--output benchmarks/results/decoding.json]

One thread, a drawn JPEG of 1918 × 1280 (Carvana's size) and one of 500 × 375 (a pet's). The readers take turns, so that
other work on the machine affects all of them equally; each value is the median of its turns.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from byoc_vision.data.decoding import read_image
from byoc_vision.data.sample_data import draw_scene

SIZES = {"1918 x 1280": (1280, 1918), "500 x 375": (375, 500)}
TURNS = 40


def bare_opencv(data: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


READERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "byoc_vision": read_image,
    "OpenCV": bare_opencv,
    "Pillow": pillow,
}


def measure(data: bytes) -> dict[str, float]:
    """Milliseconds per image, by reader."""
    seconds: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(TURNS):
        for name, read in READERS.items():
            start = time.perf_counter()
            read(data)
            seconds[name].append(time.perf_counter() - start)
    return {name: round(1000 * statistics.median(turns), 2) for name, turns in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    results = {}
    for name, (height, width) in SIZES.items():
        image, _ = draw_scene(height, width, np.random.default_rng(0))
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 75])
        milliseconds = measure(encoded.tobytes())
        results[name] = milliseconds
        ours = milliseconds["byoc_vision"]
        ratios = (f"{reader} {ms} ms ({ms / ours:.2f} x ours)" for reader, ms in milliseconds.items())
        print(f"{name}: {', '.join(ratios)}")
    if options.output:
        about = {"date": date.today().isoformat(), "processor": platform.processor() or platform.machine()}
        about |= {"opencv": cv2.__version__, "pillow": Image.__version__, "numpy": np.__version__}
        options.output.write_text(json.dumps(about | {"milliseconds": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
