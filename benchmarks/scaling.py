"""Measures the data pipeline's speed for more images, larger images, more loader processes and more training processes:
from files, and from the cache.

    .venv/bin/python benchmarks/scaling.py [--output benchmarks/results/NAME.json]

Drawn JPEG images with masks and the default augmentation; no training, so the pipeline is the only limit. `cold`: the
first epoch, which decodes and fills the cache; `warm`: the median of the later epochs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from common import CLASSES, draw, write

from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.cache import choose_place, free_memory, open_cache
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.loaders import build_training_loader
from byoc_vision.data.samples import Dataset
from byoc_vision.preprocess import Preprocess


@dataclass(frozen=True)
class Point:
    """One measurement. side: the longer side of the images, which are 3 : 2; size: the side of the model's input."""

    images: int = 128
    side: int = 960
    size: int = 256
    workers: int = 1
    processes: int = 1
    epochs: int = 3
    batch: int = 8


VARIED: dict[str, tuple[int, ...]] = {
    "images": (64, 128, 256, 512),
    "side": (480, 960, 1920),
    "size": (128, 256, 512),
    "workers": (0, 1, 2, 4),
    "processes": (1, 2, 4),
}


def epochs_of_a_process(
    dataset: Dataset, point: Point, rank: int, barrier: Barrier, seconds: multiprocessing.Queue[list[float]]
) -> None:
    """Iterate over this process's share of each epoch; all processes start together."""
    rule = Preprocess(height=point.size, width=point.size)
    cache = open_cache(dataset, rule, choose_place("auto", memory=free_memory()), generation=point.images)
    images = ImageDataset(
        dataset.train,
        CLASSES["segmentation"],
        rule,
        build_augmentation("light", "segmentation"),
        cache=cache.train if cache else None,
    )
    loader = build_training_loader(
        images, point.batch, workers=point.workers, rank=rank, world_size=point.processes, local_world_size=1
    )
    taken = []
    for epoch in range(point.epochs):
        loader.set_epoch(epoch)
        barrier.wait()
        started = time.perf_counter()
        for _ in loader:
            pass
        barrier.wait()
        taken.append(time.perf_counter() - started)
    if cache:
        cache.close()
    seconds.put(taken)


def measure(point: Point, folder: Path) -> dict[str, float]:
    """The images per second of all processes together."""
    dataset = draw(folder, "segmentation", point.images, (point.side * 2 // 3, point.side))
    context = multiprocessing.get_context("spawn")
    barrier, seconds = context.Barrier(point.processes), context.Queue()
    processes = [
        context.Process(target=epochs_of_a_process, args=(dataset, point, rank, barrier, seconds))
        for rank in range(point.processes)
    ]
    for process in processes:
        process.start()
    cold, *warm = max(seconds.get() for _ in processes)
    for process in processes:
        process.join()
    return {"cold": point.images / cold, "warm": point.images / statistics.median(warm)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vary", nargs="+", choices=VARIED, default=list(VARIED))
    parser.add_argument("--most", type=int, help="skip larger values, except of the sizes")
    parser.add_argument("--images", "--pictures", type=int, default=Point.images)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    usual = Point(images=options.images)
    results: dict[str, dict[str, Any]] = {}
    for name in options.vary:
        for value in VARIED[name]:
            if options.most is not None and name not in ("side", "size") and value > options.most:
                continue
            folder = Path(tempfile.mkdtemp(prefix="scaling-"))
            try:
                figures = measure(replace(usual, **{name: value}), folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            results.setdefault(name, {})[str(value)] = {key: round(figure, 1) for key, figure in figures.items()}
            print(f"{name} {value}: {', '.join(f'{key} {figure:.0f}' for key, figure in figures.items())}", flush=True)
            write(options.output, {"images_per_second": results})


if __name__ == "__main__":
    main()
