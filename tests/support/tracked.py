"""A job's record, as far as trackers look at it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from byoc_vision.hyperparameters import parse
from byoc_vision.report.record import IMAGES_FOLDER, Epoch, Evaluation, Example, Record, Run
from byoc_vision.types import ClassInfo


def epoch(number: int) -> Epoch:
    """Epoch n has the loss 1/n and the accuracy 1 - 1/n; one of its metrics is not a number."""
    return Epoch(
        epoch=number,
        learning_rate=0.1,
        train_loss=1 / number,
        validation={"loss": math.nan, "accuracy": 1 - 1 / number, "f1_Straße (nass)": 0.5},
        seconds=2.0,
        images_per_second=50.0,
        data_wait=0.25,
    )


def record_of(epochs: int, hyperparameters: Mapping[str, str] | None = None, **fields: Any) -> Record:
    given = dict(hyperparameters or {})
    done = [epoch(number) for number in range(1, epochs + 1)]
    return Record(
        package_version="1",
        task="classification",
        name="my-job",
        classes=[ClassInfo(name="cat"), ClassInfo(name="dog")],
        images={"train": 8, "validation": 4},
        objective="validation:accuracy",
        best_epoch=epochs or None,
        validation=done[-1].validation if done else {},
        epochs=done,
        run=Run(hyperparameters=parse(given).model_dump(mode="json"), given=list(given), model="resnet18"),
    ).model_copy(update=fields)


def evaluation(epoch: int, output: Path, count: int = 2) -> Evaluation:
    """With its images below `output`: each beside its target, which is smaller."""
    folder = output / IMAGES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(np.full((20, 30, 3), 20 * index, np.uint8)).save(folder / f"{epoch}-{index}.jpg")
        Image.fromarray(np.full((10, 15), 255, np.uint8)).save(folder / f"{epoch}-{index}.png")
    examples = [
        Example(
            file=f"{index}.jpg",
            height=20,
            width=30,
            image=f"{epoch}-{index}.jpg",
            target=f"{epoch}-{index}.png",
            actual=["cat"],
            predicted=["dog"],
            probability=0.75,
        )
        for index in range(count)
    ]
    return Evaluation(split="validation", epoch=epoch, images=4, metrics={}, classes=[], galleries={"worst": examples})
