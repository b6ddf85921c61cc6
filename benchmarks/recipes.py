"""Measures what the ingredients of a recipe are worth: data set × ingredient × seed, with the same number of steps.

    .venv/bin/python benchmarks/recipes.py ../shared/data [--data NAME …] [--ingredients NAME …] [--seeds 1 2 3]

Each run is a job as users start it, on a part of the images, so that it takes minutes on two cores. Finished runs are
in benchmarks/results/recipes.json already and are not repeated: a measurement that was stopped goes on. A run uses one
core: start several with other seeds or data to use more. `--table` prints the results without running anything.

value   of the validation images, which also choose the epoch, and whether an average or a soup is kept
test    of clothing and digits that were neither trained on nor chosen by; the other data sets have no images left

Ingredients with `whole head`, `a tenth of the head` or `own spreads` are of other beginnings than linear_probe.py has
now, and those with `average over a tenth` of a recipe that averaged the weights of masks: they are in the results only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from common import exit_on_terminate, processor
from recipe_data import cars_with_edges, digit_scenes, digits, rare_cars

from byoc_vision.tuning.locks import locked

RESULTS = Path(__file__).parent / "results/recipes.json"
COMMON = {
    "openvino": "false",
    "report": "false",
    "tensorboard": "false",
    "health_action": "none",
    "checkpoint_keep": "0",
    "num_workers": "0",
    "recipe": "none",
    "precision": "float32",
}
TEST_IMAGES = 20  # of each class


class Data(NamedTuple):
    """channels: folder names below the data, by channel. weights: the file of pretrained ones.

    most: the number of training images; for class folders of each class, and others become the test images. make:
    writes the channels instead.
    """

    channels: dict[str, str]
    weights: str
    most: int
    settings: dict[str, str]
    metric: str
    make: Callable[[Path, Path], None] | None = None


_CLOTHING = {"train": "clothing/train", "validation": "clothing/validation"}
_CAMVID = {name: f"camvid/{name}" for name in ("train", "train_annotation", "validation", "validation_annotation")}
_CLASSIFIER = {"model": "mobilenetv2_100", "image_size": "128", "batch_size": "16", "objective": "f1"}
_CARVANA = {name: f"carvana/{name}" for name in ("train", "train_masks", "validation", "validation_masks")}
_UNET = {"model": "unet", "encoder": "mobilenet_v2"}
_SMALL_UNET = _UNET | {"epochs": "4", "encoder_lr_factor": "0.3", "warmup_epochs": "0.5"}
_STREETS = _UNET | {"ignore_index": "11"}
DATA = {
    "clothing-10": Data(_CLOTHING, "mobilenetv2_100.timm", 10, _CLASSIFIER | {"epochs": "20"}, "f1"),
    "clothing-20": Data(_CLOTHING, "mobilenetv2_100.timm", 20, _CLASSIFIER | {"epochs": "12"}, "f1"),
    "clothing-50": Data(_CLOTHING, "mobilenetv2_100.timm", 50, _CLASSIFIER | {"image_size": "96", "epochs": "5"}, "f1"),
    "clothing-100": Data(_CLOTHING, "mobilenetv2_100.timm", 100, _CLASSIFIER | {"epochs": "4"}, "f1"),
    "digits-20": Data({}, "mobilenetv2_100.timm", 20, _CLASSIFIER | {"image_size": "64", "epochs": "12"}, "f1", digits),
    "camvid-120": Data(
        _CAMVID,
        "mobilenet_v2.torchvision",
        120,
        _STREETS | {"image_size": "192, 256", "batch_size": "8", "epochs": "10"},
        "miou",
    ),
    "camvid": Data(_CAMVID, "mobilenet_v2.torchvision", 367, _STREETS | {"epochs": "12"}, "miou"),
    "cars-edges": Data(
        {},
        "mobilenet_v2.torchvision",
        84,
        _SMALL_UNET | {"image_size": "192, 288", "batch_size": "4"},
        "miou",
        cars_with_edges,
    ),
    "cars-rare": Data(
        {},
        "mobilenet_v2.torchvision",
        756,
        _SMALL_UNET | {"image_size": "128", "batch_size": "8", "objective": "miou"},
        "miou",
        rare_cars,
    ),
    "digit-scenes": Data(
        {},
        "mobilenet_v2.torchvision",
        200,
        _UNET | {"image_size": "128", "batch_size": "8", "epochs": "10"},
        "miou",
        digit_scenes,
    ),
    "carvana": Data(_CARVANA, "mobilenet_v2.torchvision", 84, _UNET, "dice"),
}
_AUTO = {"recipe": "auto"}
_SMALLER = "seven eighths of image_size"
_PROBE = {"linear_probe": "true"}
_SMALL = _PROBE | {"learning_rate": "1e-4", "warmup_epochs": "1"}
INGREDIENTS: dict[str, dict[str, str]] = {
    "defaults": {},
    "auto": _AUTO,
    "auto, no floor": _AUTO | {"linear_probe": "false"},
    "auto, rate 1e-3": _AUTO | {"learning_rate": "1e-3"},
    "auto, moving norms": _AUTO | {"freeze_batch_norm": "false"},
    "auto, mixup": _AUTO | {"mixup": "0.2"},
    "auto, cutmix": _AUTO | {"cutmix": "1"},
    "auto, trivial": _AUTO | {"augmentation": "trivial"},
    "auto, layers × 0.75": _AUTO | {"layer_decay": "0.75", "learning_rate": "1e-3"},
    "auto, crops": _AUTO | {"random_resized_crop": "0.35"},
    "auto, larger at test": _AUTO | {"random_resized_crop": "0.35", "train_image_size": _SMALLER},
    "auto, smoothing": _AUTO | {"label_smoothing": "0.1"},
    "auto, average": _AUTO | {"ema_decay": "0.98"},
    "auto, soup": _AUTO | {"soup": "3"},
    "auto, clip": _AUTO | {"clip_grad_norm": "1"},
    "probe": _PROBE,
    "probe, rate 3e-4": _PROBE | {"learning_rate": "3e-4", "warmup_epochs": "1"},
    "probe, rate 1e-4": _SMALL,
    "probe, rate 3e-5": _PROBE | {"learning_rate": "3e-5", "warmup_epochs": "1"},
    "probe, rate 1e-4, average": _SMALL | {"ema_decay": "0.98"},
    "probe, rate 1e-4, strong": _SMALL | {"augmentation": "strong"},
    "probe, rate 1e-4, smoothing": _SMALL | {"label_smoothing": "0.1"},
    "probe, rate 1e-4, still norms": _SMALL | {"freeze_batch_norm": "true"},
    "probe, rate 3e-4, still norms": _SMALL | {"freeze_batch_norm": "true", "learning_rate": "3e-4"},
    "probe, rate 1e-3, still norms, encoder × 0.1": _SMALL
    | {"freeze_batch_norm": "true", "learning_rate": "1e-3", "encoder_lr_factor": "0.1"},
    "encoder × 0.3": {"encoder_lr_factor": "0.3"},
    "average": {"ema_decay": "0.98"},
    "weights": {"class_weights": "sqrt"},
    "masks": {"mask_threshold": "auto", "min_area": "auto"},
    "scale": {"random_scale": "2"},
    "scale, classes": {"random_scale": "2", "class_crops": "0.5"},
    "scale, classes, encoder × 0.3": {"random_scale": "2", "class_crops": "0.5", "encoder_lr_factor": "0.3"},
    "auto, equal weights": _AUTO | {"class_weights": "none"},
    "auto, balanced weights": _AUTO | {"class_weights": "balanced"},
    "auto, one scale": _AUTO | {"random_scale": "1"},
    "auto, places at random": _AUTO | {"class_crops": "0"},
    "auto, one rate": _AUTO | {"encoder_lr_factor": "1"},
    "auto, decoder first": _AUTO | {"freeze_epochs": "1"},
    "auto, batches of 8": _AUTO | {"batch_size": "8"},
}


def lay_out(root: Path, source: Path, data: Data) -> None:
    """The channels, as links to a part of the images, or made for the purpose."""
    if data.make:
        data.make(source, root)
    for channel, folder in data.channels.items():
        classes = sorted(entry for entry in (source / folder).iterdir() if entry.is_dir())
        for origin in classes or [source / folder]:
            target = root / channel / (origin.name if classes else "")
            files = sorted(origin.iterdir())
            taken = spread(files, data.most) if channel.startswith("train") else files
            link(taken, target)
            left = [file for file in files if file not in taken]
            if classes and left:
                link(spread(left, TEST_IMAGES), root / "test" / origin.name)
    (root / "pretrained").mkdir()
    (root / "pretrained/weights.safetensors").symlink_to(source / f"weights/{data.weights}.safetensors")


def link(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file.name).symlink_to(file)


def spread(files: list[Path], most: int) -> list[Path]:
    """As many, spread over all."""
    return [files[index * len(files) // most] for index in range(most)] if len(files) > most else files


def run(source: Path, data: Data, settings: dict[str, str]) -> dict[str, Any]:
    """The best metric of one job, its floor if it has one, and the processor time that it took."""
    with tempfile.TemporaryDirectory() as folder:
        images, job = Path(folder, "data"), Path(folder, "job")
        lay_out(images, source, data)
        if settings.get("train_image_size") == _SMALLER:
            settings = settings | {"train_image_size": str(int(data.settings["image_size"]) * 7 // 8)}
        given = [f"{name}={value}" for name, value in (COMMON | data.settings | settings).items()]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run(
            [sys.executable, "-m", "byoc_vision", "train", str(images), "--output", str(job), *given],
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        record = json.loads((job / "output/data/metrics.json").read_text())
    floor = (record.get("floor") or {}).get("validation", {}).get(data.metric)
    return {
        "value": record["validation"][data.metric],
        "test": (record.get("test") or {}).get(data.metric),
        "floor": floor,
        "cpu_seconds": round(seconds, 1),
    }


def finished() -> list[dict[str, Any]]:
    """The runs so far, those of other processes among them."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def add(entry: dict[str, Any]) -> None:
    """Several processes may add; one that was given the same run as another adds nothing."""
    with locked(Path(__file__)):  # the results themselves are replaced
        results = finished()
        if key(entry) not in map(key, results):
            lines = ",\n".join(json.dumps(known) for known in [*results, entry])
            written = RESULTS.with_suffix(".tmp")
            written.write_text(f"[\n{lines}\n]\n")
            written.replace(RESULTS)


def key(entry: dict[str, Any]) -> tuple[str, str, int, str]:
    """What is not measured twice. Processors round differently, and a training soon goes another way."""
    return entry["data"], entry["ingredient"], entry["seed"], entry["processor"]


def table(results: list[dict[str, Any]], figure: str) -> Iterator[str]:
    """Markdown: the mean and the spread of a figure over the seeds."""
    results = [entry for entry in results if entry.get(figure) is not None]
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for entry in results:
        name = f"{entry['data']}, {entry['processor']}"
        found[entry["ingredient"], name].append(entry[figure])
        if figure == "value" and entry["floor"] is not None:
            found["floor", name].append(entry["floor"])
    names = list(dict.fromkeys(name for _, name in found))
    yield "| ingredient | " + " | ".join(names) + " |"
    yield "| --- |" + " --- |" * len(names)
    for ingredient in dict.fromkeys(key for key, _ in found):
        cells = [_cell(found.get((ingredient, name), [])) for name in names]
        yield f"| {ingredient} | " + " | ".join(cells) + " |"


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="the folder with clothing/, camvid/ and weights/")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--ingredients", nargs="+", choices=INGREDIENTS, default=list(INGREDIENTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    exit_on_terminate()
    wanted = () if options.table else product(options.seeds, options.data, options.ingredients)
    for seed, name, ingredient in wanted:
        entry = {"data": name, "ingredient": ingredient, "seed": seed, "processor": processor()}
        if key(entry) in map(key, finished()):
            continue
        entry |= run(options.source.resolve(), DATA[name], INGREDIENTS[ingredient] | {"seed": str(seed)})
        add(entry)
        print(json.dumps(entry), flush=True)
    for figure in ("value", "test"):
        print(f"\n{figure}\n\n" + "\n".join(table(finished(), figure)))


if __name__ == "__main__":
    main()
