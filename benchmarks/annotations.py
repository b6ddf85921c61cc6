"""Measures how long trees of 100,000 files take to be recognised, and a COCO JSON of 500 MB to be read, with memory.

    .venv/bin/python benchmarks/annotations.py [--output benchmarks/results/annotations.json] [--mb 500]

All images of a tree are one file under many names (hard links). Each tree is listed and recognised in a process of its
own, whose peak memory counts. `recognise_seconds` is what `find_dataset` takes beyond listing, `cpu_seconds` its
processor time, and `draw_ms` that of a mask with seven shapes; for formats with a file for each image the seconds
include reading these files.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import cv2
import numpy as np

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.formats.scan import scan
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.targets import read_mask_values

SIDE = 64
SHAPES_OF_IMAGE = 7  # as in COCO's train2017
POINTS = 40
DRAWN = 2000


class Links:
    """Many names for a few files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources: dict[str, Path] = {}
        folder.mkdir()
        image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[8:40, 8:40] = 1
        self.add("jpg", cv2.imencode(".jpg", image)[1].tobytes())
        self.add("png", cv2.imencode(".png", mask)[1].tobytes())
        points = [[8, 8], [40, 8], [40, 40]]
        shapes = [{"label": "car", "points": points, "shape_type": "polygon"}]
        self.add("json", json.dumps({"shapes": shapes, "imageHeight": SIDE, "imageWidth": SIDE}).encode())
        self.add("txt", b"0 0.1 0.1 0.6 0.1 0.6 0.6\n")

    def add(self, ending: str, content: bytes) -> None:
        self._sources[ending] = self._folder / f"source_{len(os.listdir(self._folder))}.{ending}"
        self._sources[ending].write_bytes(content)

    def write(self, path: Path) -> None:
        ending = path.suffix[1:]
        try:
            os.link(self._sources[ending], path)
        except OSError:  # a file system has a limit of names for one file
            self.add(ending, self._sources[ending].read_bytes())
            os.link(self._sources[ending], path)


def pairs(root: Path, links: Links, files: int, images: str, others: str, ending: str) -> None:
    """Half of the files are images, the others have their names."""
    for folder, kind in ((images, "jpg"), (others, ending)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(files // 2):
            links.write(root / folder / f"street_{index:06}.{kind}")


def class_folders(root: Path, links: Links, files: int) -> None:
    for index in range(files):
        folder = root / f"class_{index % 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        links.write(folder / f"{index:06}.jpg")


TREES: dict[str, Callable[[Path, Links, int], None]] = {
    "images and masks": lambda root, links, files: pairs(root, links, files, "images", "masks", "png"),
    "folders of other names": lambda root, links, files: pairs(root, links, files, "photos", "drawn", "png"),
    "class folders": class_folders,
    "LabelMe": lambda root, links, files: pairs(root, links, files, "images", "labels", "json"),
    "YOLO": lambda root, links, files: pairs(root, links, files, "images", "labels", "txt"),
}


def write_coco(root: Path, links: Links, size: int) -> int:
    """A COCO JSON of about `size` bytes, with its images. Returns the number of images."""
    (root / "images").mkdir(parents=True)
    draw = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    images: list[str] = []
    with (root / "instances.json").open("w", encoding="utf-8") as file:
        file.write('{"info": {}, "annotations": [')
        number = 0
        while file.tell() < size or number % SHAPES_OF_IMAGE:
            x, y = draw.uniform(20, 44, 2)
            radius = draw.uniform(5, 18) * draw.uniform(0.9, 1.1, POINTS)
            xy = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1).ravel()
            image = number // SHAPES_OF_IMAGE
            annotation = {"segmentation": [np.round(xy, 2).tolist()], "area": 702.105, "iscrowd": 0}
            annotation |= {
                "image_id": image,
                "bbox": [1.5, 2.5, 3.5, 4.5],
                "category_id": 1 + number % 80,
                "id": number,
            }
            file.write(("," if number else "") + json.dumps(annotation))
            number += 1
            if image == len(images):
                name = f"{image:012}.jpg"
                links.write(root / "images" / name)
                images.append(json.dumps({"id": image, "file_name": name, "height": SIDE, "width": SIDE}))
        categories = [{"id": number, "name": f"thing {number}"} for number in range(1, 81)]
        file.write(f'], "images": [{",".join(images)}], "categories": {json.dumps(categories)}}}')
    return len(images)


def measure(root: Path, results: multiprocessing.Queue[dict[str, float | str]], drawn: int = 0) -> None:
    started = time.perf_counter()
    listed = scan(root)
    seconds = time.perf_counter() - started
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, worked = time.perf_counter(), time.process_time()
    dataset = find_dataset({"train": listed}, DataOptions())
    found: dict[str, float | str] = {
        "list_seconds": round(seconds, 2),
        "recognise_seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - worked, 2),
        "samples": len(dataset.train) + len(dataset.validation),
        "listed_mb": before // 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if drawn:
        worked = time.process_time()
        for sample in dataset.train[:drawn]:
            read_mask_values(sample)
        found["draw_ms"] = round(1000 * (time.process_time() - worked) / drawn, 3)
    results.put(found)


def in_process(root: Path, drawn: int = 0) -> dict[str, float | str]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(root, results, drawn))
    process.start()
    found: dict[str, float | str] = results.get()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--mb", type=int, default=500, help="of the COCO JSON")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    figures: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        links = Links(Path(folder) / "sources")
        for name, write in TREES.items():
            root = Path(folder) / name.replace(" ", "_")
            write(root, links, options.files)
            figures[name] = in_process(root)
            print(f"{name}: {figures[name]}", flush=True)
        root = Path(folder) / "coco"
        write_coco(root, links, options.mb * 10**6)
        size = (root / "instances.json").stat().st_size
        figures["COCO JSON"] = {"json_mb": size // 10**6, **in_process(root, DRAWN)}
        print(f"COCO JSON: {figures['COCO JSON']}", flush=True)
    if options.output:
        record = {"date": date.today().isoformat(), "cpu": platform.processor() or platform.machine()}
        record |= {"cores": str(os.cpu_count()), "files": str(options.files)}
        options.output.write_text(json.dumps({**record, "figures": figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
