"""What one host of two finds and is to work on: run by a test in two processes, each in its host's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from support.hosts import ROOT

from byoc_vision.errors import UserError
from byoc_vision.hyperparameters import parse
from byoc_vision.job import Job
from byoc_vision.launch.distributed import World
from byoc_vision.paths import MlPaths
from byoc_vision.training.class_weights import class_weights, count_training_masks
from byoc_vision.training.data_partition import find_data


def found(world: World) -> dict[str, Any]:
    paths = MlPaths(ROOT)
    hyperparameters = parse(json.loads(paths.hyperparameters.read_text()))
    try:
        checked, own = find_data(Job.load(paths), hyperparameters, world)
        counted, masks_read = count_training_masks(hyperparameters, checked, own, world)
    except UserError as error:
        return {"error": f"{error.category}: {error}"}
    return {
        "classes": [[entry.name, entry.value] for entry in checked.dataset.classes],
        "ignore_value": checked.dataset.ignore_value,
        "all": {split: len(samples) for split, samples in checked.dataset.splits.items()},
        "here": {split: [sample.image.name for sample in samples] for split, samples in own.dataset.splits.items()},
        "shares": own.shares,
        "pictures": own.images,
        "weights": class_weights(hyperparameters, checked.dataset, counted, masks_read),
        "checked": checked.report.checked,
    }


def tell_all(rank: int, store: str, folders: Sequence[str]) -> None:
    """Print a JSON object for each job, a folder below the host's."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    host = Path.cwd()
    for folder in folders:
        os.chdir(host / folder)
        print(json.dumps(found(World(rank=rank, size=2))))
    dist.destroy_process_group()
