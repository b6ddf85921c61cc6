"""Measures the seconds from the start of `train` to its first optimiser step, and of importing our package and torch.

    .venv/bin/python benchmarks/startup.py [--images 10000] [--output benchmarks/results/startup.json]

Drawn images of 500 × 375 in class folders on the local disk, all different; ResNet-18 at 224, a batch of 16. The
moments before the first step come from the log. Each value is the median of its turns; imports are measured in fresh
processes that take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import PET, encode, write

DRAWN = 64
IMPORTS = ("torch", "byoc_vision.cli", "byoc_vision.training.build")
MOMENTS = {
    "torch is imported": r"torch \d",
    "images are listed": r"\d+ training, ",
    "images are checked": r"^checked ",
    "the model is built": r"M parameters",
    "the first step is done": r"first step was done",
}


def make_job(root: Path, count: int) -> None:
    """Create a job with `count` different images of ten classes."""
    encoded = [encode(PET, seed)[0] for seed in range(min(DRAWN, count))]
    for index in range(count):
        jpeg, comment = encoded[index % len(encoded)], f"image {index}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment  # COM, directly after the start
        file = root / f"input/data/train/class_{index % 10}/{index:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg[:2] + marker + jpeg[2:])
    config = root / "input/config"
    config.mkdir(parents=True)
    values = {"model": "resnet18", "pretrained": "false", "batch_size": "16", "epochs": "2"}
    (config / "hyperparameters.json").write_text(json.dumps(values))


def moments(root: Path) -> dict[str, float]:
    """Seconds from the start until each of MOMENTS is in the log of `train`; then the job is ended."""
    started, seen = time.perf_counter(), {}
    command = [sys.executable, "-m", "byoc_vision", "train", "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
        assert job.stdout
        lines = []
        for line in job.stdout:
            lines.append(line)
            seen |= {
                name: time.perf_counter() - started
                for name, words in MOMENTS.items()
                if name not in seen and re.search(words, line)
            }
            if len(seen) == len(MOMENTS):
                job.kill()
                break
    if len(seen) < len(MOMENTS):
        sys.exit("the job ended before its first step:\n" + "".join(lines[-10:]))
    shutil.rmtree(root / "output", ignore_errors=True)
    return seen


def seconds_to_import(module: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", "--pictures", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    os.environ["TMPDIR"] = root = tempfile.mkdtemp(prefix="startup-")  # it is deleted with the caches of ended jobs
    try:
        make_job(Path(root), options.images)
        turns = [moments(Path(root)) for _ in range(options.turns)]
        imports = [{module: seconds_to_import(module) for module in IMPORTS} for _ in range(options.turns)]
    finally:
        shutil.rmtree(root, ignore_errors=True)
    until = {name: round(statistics.median(turn[name] for turn in turns), 1) for name in MOMENTS}
    seconds = {module: round(statistics.median(turn[module] for turn in imports), 2) for module in IMPORTS}
    ratio = round(statistics.median(turn["byoc_vision.training.build"] / turn["torch"] for turn in imports), 2)
    for name, value in until.items():
        print(f"{value:5.1f} s  {name}")
    print("imports:", ", ".join(f"{module} {value} s" for module, value in seconds.items()))
    print(f"byoc_vision.training.build / torch: {ratio}")
    write(
        options.output,
        {
            "pictures": options.images,
            "seconds_until": until,
            "seconds_to_import": seconds,
            "byoc_vision.training.build / torch": ratio,
        },
    )


if __name__ == "__main__":
    main()
