from __future__ import annotations

import math
import re

import pytest

from byoc_vision.errors import InputError
from byoc_vision.training.early_stopping import EarlyStopping
from byoc_vision.training.history import EpochRecord, History, epoch_line, fit
from byoc_vision.training.resolve_config import Objective
from byoc_vision.training.throughput import Throughput


class Played:
    """Epochs whose figures are known beforehand."""

    throughput = Throughput(images_per_second=120.5, data_wait=0.03)

    def __init__(self, figures: list[float], losses: list[float] | None = None) -> None:
        self.figures = figures
        self.losses = losses or [0.5] * len(figures)
        self.trained: list[int] = []

    def train(self, epoch: int) -> float:
        self.trained.append(epoch)
        return self.losses[epoch - 1]

    def validate(self) -> dict[str, float]:
        return {"loss": 0.4, "dice": self.figures[len(self.trained) - 1]}


def play(epochs: Played, **options: object) -> tuple[History, list[int]]:
    kept: list[int] = []
    history = options.pop("history", None) or History(Objective("dice"))
    settings: dict[str, object] = {"early_stopping": None, "after_epoch": lambda record, last: None} | options
    return fit(
        epochs,
        len(epochs.figures),
        history,  # type: ignore[arg-type]
        learning_rate=lambda: 0.01,
        keep=lambda record: kept.append(record.epoch),
        **settings,  # type: ignore[arg-type]
    ), kept


def test_each_better_epoch_is_kept() -> None:
    history, kept = play(Played([0.1, 0.5, 0.4, 0.5, 0.6]))
    assert kept == [1, 2, 5]
    assert history.best is not None
    assert history.best.epoch == 5


def test_each_epoch_tells_how_fast_it_was() -> None:
    history, _ = play(Played([0.1, 0.5]))
    assert [(record.images_per_second, record.data_wait) for record in history.records] == [(120.5, 0.03)] * 2


def test_the_first_epoch_is_kept_whatever_it_is_worth() -> None:
    assert play(Played([0.0]))[1] == [1]


def test_early_stopping_ends_the_training() -> None:
    epochs = Played([0.5, 0.4, 0.4, 0.9])
    play(epochs, early_stopping=EarlyStopping(patience=2))
    assert epochs.trained == [1, 2, 3]


def test_each_epoch_is_told_of_and_the_last_one_is_known() -> None:
    told: list[tuple[int, bool]] = []
    play(Played([0.5, 0.6]), after_epoch=lambda record, last: told.append((record.epoch, last)))
    assert told == [(1, False), (2, True)]
    told.clear()
    stopping = EarlyStopping(patience=1)
    play(
        Played([0.5, 0.4, 0.3]),
        early_stopping=stopping,
        after_epoch=lambda record, last: told.append((record.epoch, last)),
    )
    assert told == [(1, False), (2, True)]


def test_epochs_in_the_history_are_not_trained_again() -> None:
    history = History(Objective("dice"))
    history.add(EpochRecord(1, 0.01, 0.5, {"loss": 0.4, "dice": 0.9}, 1.0))
    epochs = Played([0.5, 0.6, 0.7])
    assert play(epochs, history=history)[1] == []
    assert epochs.trained == [2, 3]
    assert history.best is not None
    assert history.best.epoch == 1


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_remedy_and_keeps_the_best(loss: float) -> None:
    epochs = Played([0.5, 0.6], [0.5, loss])
    with pytest.raises(InputError, match=r"in epoch 2: .*Lower it .*clip_grad_norm"):
        play(epochs)


def test_the_epoch_line_is_read_by_sagemakers_regexes() -> None:
    record = EpochRecord(3, 0.001, 0.1234, {"loss": 0.2, "dice": 0.9876}, 12.34, 1234.56, 0.034)
    line = epoch_line(record)
    assert line == (
        "epoch=3 train:loss=0.1234 validation:loss=0.2000 validation:dice=0.9876 learning_rate=0.001 seconds=12.3 "
        "images_per_second=1234.6 data_wait=3%"
    )
    assert re.search(r"validation:dice=([0-9.]+)", line)


def test_with_very_many_classes_their_own_figures_leave_the_line() -> None:
    few = {f"iou_class_{index}": 0.5 for index in range(11)}
    many = {f"iou_class_{index}": 0.5 for index in range(150)}
    assert "validation:iou_class_10=0.5000" in epoch_line(EpochRecord(1, 0.1, 0.2, {"miou": 0.5} | few, 1.0))
    line = epoch_line(EpochRecord(1, 0.1, 0.2, {"miou": 0.5} | many, 1.0))
    assert "validation:miou=0.5000" in line
    assert "iou_class" not in line
