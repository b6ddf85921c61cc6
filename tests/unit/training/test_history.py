from __future__ import annotations

import json
import re
from math import nan

from byoc_vision.evaluation.epoch_record import EpochRecord
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.training.history import History


def record(epoch: int, dice: float) -> EpochRecord:
    return EpochRecord(epoch, 0.01, 0.5, {"loss": 0.4, "dice": dice}, 1.0)


def test_the_best_epoch_is_known() -> None:
    history = History(Objective("dice"))
    better = [history.add(record(epoch, dice)) for epoch, dice in enumerate([0.0, 0.5, 0.4, 0.5, 0.6], start=1)]
    assert better == [True, True, False, False, True]
    assert history.best == history.records[4]


def test_of_losses_the_lowest_is_the_best() -> None:
    history = History(Objective("dice", "min"))
    assert [history.add(record(epoch, loss)) for epoch, loss in enumerate([0.3, 0.5, 0.2], start=1)] == [
        True,
        False,
        True,
    ]


def test_any_number_is_better_than_nan() -> None:
    history = History(Objective("dice"))
    better = [history.add(record(epoch, dice)) for epoch, dice in enumerate([nan, nan, 0.1, nan, 0.2], start=1)]
    assert better == [True, False, True, False, True]


def test_a_history_is_restored() -> None:
    history, restored = History(Objective("dice")), History(Objective("dice"))
    for epoch, dice in enumerate([0.5, 0.9, 0.7], start=1):
        history.add(record(epoch, dice))
    restored.load_state_dict(json.loads(json.dumps(history.state_dict())))
    assert restored == history


def test_the_epoch_line_is_read_by_sagemakers_regexes() -> None:
    epoch = EpochRecord(3, 0.001, 0.1234, {"loss": 0.2, "dice": 0.9876}, 12.34, 1234.56, 0.034)
    line = epoch.line()
    assert line == (
        "epoch=3 train:loss=0.1234 validation:loss=0.2000 validation:dice=0.9876 learning_rate=0.001 seconds=12.3 "
        "images_per_second=1234.6 data_wait=3%"
    )
    assert re.search(r"validation:dice=([0-9.]+)", line)


def test_the_epoch_line_ends_with_the_classes_that_the_mean_leaves_out() -> None:
    one = EpochRecord(1, 0.1, 0.2, {"f1": 1.0, "f1_a": 1.0}, 1.0)
    two = EpochRecord(1, 0.1, 0.2, {"f1": 1.0, "f1_a": 1.0, "f1_b": 1.0}, 1.0)
    assert one.line(2).endswith(" data_wait=0% (f1 over 1 of 2 classes)")
    assert one.line(2).startswith(one.line())
    assert two.line(2) == two.line()


def test_with_very_many_classes_their_own_metrics_leave_the_line() -> None:
    few = {f"iou_class_{index}": 0.5 for index in range(11)}
    many = {f"iou_class_{index}": 0.5 for index in range(150)}
    assert "validation:iou_class_10=0.5000" in EpochRecord(1, 0.1, 0.2, {"miou": 0.5} | few, 1.0).line()
    line = EpochRecord(1, 0.1, 0.2, {"miou": 0.5} | many, 1.0).line()
    assert "validation:miou=0.5000" in line
    assert "iou_class" not in line
