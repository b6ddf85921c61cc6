"""Measures the time of the check before training beside decoding: hash, channel statistics and mask histogram.

    .venv/bin/python benchmarks/preflight.py [--output benchmarks/results/preflight.json] [FOLDER …]

Each FOLDER is read as `byoc-vision check` reads it; drop_samples one, images with masks are drawn. One thread, and the
processor time of that thread. A sample is only decoded, then checked, in turns, so that other work on the machine
affects both equally. Each value is the median over samples and turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import cv2
import numpy as np

from byoc_vision.data.decoding import read_image
from byoc_vision.data.formats import find_dataset
from byoc_vision.data.formats.channels import channels_in
from byoc_vision.data.preflight.scan import measure_sample
from byoc_vision.data.sample_data import draw_scene
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.data.targets import read_mask_values

MOST_SAMPLES = 60
TURNS = 4


def decode(sample: Sample) -> None:
    read_image(sample.image)
    if sample.mask is not None:
        read_mask_values(sample)


READERS: dict[str, Callable[[Sample], object]] = {"decoding": decode, "check": measure_sample}


def measure(samples: Sequence[Sample]) -> dict[str, float]:
    """Milliseconds of CPU time per sample, by reader, and what the check adds to decoding, in per cent of it."""
    seconds: dict[str, list[float]] = {name: [] for name in READERS}
    ratios: list[float] = []
    for sample in samples:
        decode(sample)  # its files are in memory from here on
        for turn in range(TURNS):
            for name in sorted(READERS, reverse=turn % 2 == 1):
                start = time.thread_time()
                READERS[name](sample)
                seconds[name].append(time.thread_time() - start)
            ratios.append(seconds["check"][-1] / seconds["decoding"][-1])
    figures = {f"{name}_ms": round(1000 * statistics.median(taken), 3) for name, taken in seconds.items()}
    return figures | {"added_percent": round(100 * (statistics.median(ratios) - 1), 1)}


def draw_set(folder: Path, height: int, width: int, count: int) -> tuple[Sample, ...]:
    samples = []
    for index in range(count):
        image, mask = draw_scene(height, width, np.random.default_rng(index))
        sample = Sample(folder / f"{width}_{index}.jpg", folder / f"{width}_{index}.png")
        cv2.imwrite(str(sample.image), image, [cv2.IMWRITE_JPEG_QUALITY, 75])
        cv2.imwrite(str(sample.mask), mask)
        samples.append(sample)
    return tuple(samples)


def read_set(folder: Path) -> tuple[Sample, ...]:
    samples = find_dataset(channels_in(folder.absolute()), DataOptions()).train
    return samples[:: max(1, len(samples) // MOST_SAMPLES)][:MOST_SAMPLES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as drawn:
        sets = {folder.name: read_set(folder) for folder in options.folders} or {
            "drawn, 1918 x 1280, with masks": draw_set(Path(drawn), 1280, 1918, 10),
            "drawn, 500 x 375, with masks": draw_set(Path(drawn), 375, 500, 50),
        }
        results = {name: {"samples": len(samples)} | measure(samples) for name, samples in sets.items()}
    for name, figures in results.items():
        print(f"{name}: {', '.join(f'{title} {figure}' for title, figure in figures.items())}")
    if options.output:
        about = {"date": date.today().isoformat(), "processor": platform.processor() or platform.machine()}
        about |= {"opencv": cv2.__version__, "numpy": np.__version__}
        options.output.write_text(json.dumps(about | {"sets": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
