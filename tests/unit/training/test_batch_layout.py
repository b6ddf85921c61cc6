from __future__ import annotations

import json
from pathlib import Path

from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.hyperparameters import parse
from byoc_vision.launch.distributed import World
from byoc_vision.training.batch_layout import BatchLayout
from byoc_vision.types import ClassInfo

DATASET = Dataset("classification", (ClassInfo("cat"), ClassInfo("dog")), (Sample(Path("1.jpg"), label=0),) * 8, ())


def layout(shards: str = "") -> BatchLayout:
    return BatchLayout.of(parse({}), DATASET, batches=2, world=World(size=2), shards=shards)


def test_images_dealt_out_otherwise_are_another_layout() -> None:
    assert layout("0011").as_dict() != layout("0101").as_dict()
    assert json.loads(json.dumps(layout("0011").as_dict())) == layout("0011").as_dict()


def test_without_shards_it_is_what_checkpoints_had_before_there_were_any() -> None:
    assert set(layout().as_dict()) == {
        "pictures", "batches", "batch_size", "processes", "accumulate_steps", "sampling", "seed",
    }  # fmt: skip
