from __future__ import annotations

import math

from support.tracked import epoch, record_of

from byoc_vision.training.callbacks.run_record import MOST_METRICS, epoch_metrics, final_metrics, parameters


def test_metrics_are_numbers() -> None:
    metrics = epoch_metrics(epoch(4))
    assert metrics["train/loss"] == 0.25
    assert metrics["validation/accuracy"] == 0.75
    assert "validation/loss" not in metrics
    assert all(math.isfinite(value) for value in metrics.values())


def test_of_very_many_classes_their_own_metrics_are_left_out() -> None:
    many = {f"iou_{index}": 0.5 for index in range(MOST_METRICS)} | {"miou": 0.5}
    metrics = epoch_metrics(epoch(1).model_copy(update={"validation": many}))
    assert "validation/miou" in metrics
    assert "validation/iou_1" not in metrics
    few = epoch_metrics(epoch(1).model_copy(update={"validation": {"iou_1": 0.5}}))
    assert "validation/iou_1" in few


def test_final_metrics() -> None:
    assert final_metrics(record_of(2, test={"accuracy": 0.25, "loss": None})) == {
        "best/accuracy": 0.5,
        "best/f1_Straße (nass)": 0.5,
        "test/accuracy": 0.25,
    }
    assert final_metrics(record_of(0)) == {}


def test_parameters_are_all_of_them_as_text() -> None:
    told = parameters(record_of(1, {"hidden_units": "512, 128"}))
    assert (told["hidden_units"], told["epochs"], told["encoder"], told["openvino"]) == ("512, 128", "10", "-", "True")
