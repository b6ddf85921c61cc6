"""Measures the memory of a job's processes at the end of each epoch, and how much the machine swaps.

    .venv/bin/python benchmarks/memory.py [--epochs 8] [--output benchmarks/results/memory.json]

A real `train` on drawn images of 1918 × 1280 with masks, two loader processes, the cache with its default settings.
rss: resident memory of the training process; pss: of all the job's processes, shared pages counted once. Both in MB,
from Linux (proc_pid_smaps_rollup(5)).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import CARVANA, draw, write
from processes import family, megabytes

EPOCH = re.compile(r"epoch=(\d+) ")


def make_job(root: Path, count: int, epochs: int) -> None:
    """Create a job's images and masks in the folders that `train` reads."""
    draw(root / "drawn", "segmentation", count, CARVANA)
    data = root / "input/data"
    data.mkdir(parents=True)
    (root / "drawn/pictures").rename(data / "train")
    (root / "drawn/masks").rename(data / "train_masks")
    config = root / "input/config"
    config.mkdir()
    values = {"model": "unet_small", "image_size": "256", "batch_size": "8", "epochs": str(epochs), "num_workers": "2"}
    (config / "hyperparameters.json").write_text(json.dumps(values))


def swapped_out() -> int:
    """Pages that the machine has written to swap since its start."""
    found = re.search(r"^pswpout (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def epochs_of(root: Path) -> list[dict[str, float]]:
    """Memory at the end of each epoch."""
    command = [sys.executable, "-m", "byoc_vision", "train", "--root", str(root)]
    epochs, lines = [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
        assert job.stdout
        for line in job.stdout:
            lines.append(line)
            if found := EPOCH.match(line):
                rss, pss = megabytes(job.pid, "Rss"), sum(megabytes(one, "Pss") for one in family(job.pid))
                epochs.append({"epoch": int(found[1]), "rss": round(rss), "pss": round(pss)})
                print(f"epoch {found[1]}: rss {rss:.0f} MB, pss of all processes {pss:.0f} MB", flush=True)
    if job.returncode:
        sys.exit("the job failed:\n" + "".join(lines[-10:]))
    return epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", "--pictures", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="memory-"))
    before = swapped_out()
    try:
        make_job(root, options.images, options.epochs)
        epochs = epochs_of(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    growth = {name: round(epochs[-1][name] / epochs[1][name], 3) for name in ("rss", "pss")}
    pages = swapped_out() - before
    print(f"epoch {options.epochs} / epoch 2: rss {growth['rss']}, pss {growth['pss']}; {pages} pages swapped out")
    write(
        options.output,
        {
            "pictures": options.images,
            "megabytes": epochs,
            "last epoch / epoch 2": growth,
            "pages_swapped_out": pages,
        },
    )


if __name__ == "__main__":
    main()
