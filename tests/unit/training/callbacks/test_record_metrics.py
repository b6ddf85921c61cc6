from __future__ import annotations

import math

from support.tracked import epoch, record_of

from byoc_vision.training.callbacks.record_metrics import MOST_FIGURES, epoch_figures, final_figures, parameters


def test_figures_are_numbers() -> None:
    figures = epoch_figures(epoch(4))
    assert figures["train/loss"] == 0.25
    assert figures["validation/accuracy"] == 0.75
    assert "validation/loss" not in figures
    assert all(math.isfinite(value) for value in figures.values())


def test_of_very_many_classes_their_own_figures_are_left_out() -> None:
    many = {f"iou_{index}": 0.5 for index in range(MOST_FIGURES)} | {"miou": 0.5}
    figures = epoch_figures(epoch(1).model_copy(update={"validation": many}))
    assert "validation/miou" in figures
    assert "validation/iou_1" not in figures
    few = epoch_figures(epoch(1).model_copy(update={"validation": {"iou_1": 0.5}}))
    assert "validation/iou_1" in few


def test_final_figures() -> None:
    assert final_figures(record_of(2, test={"accuracy": 0.25, "loss": None})) == {
        "best/accuracy": 0.5,
        "best/f1_Straße (nass)": 0.5,
        "test/accuracy": 0.25,
    }
    assert final_figures(record_of(0)) == {}


def test_parameters_are_all_of_them_as_text() -> None:
    told = parameters(record_of(1, {"hidden_units": "512, 128"}))
    assert (told["hidden_units"], told["epochs"], told["encoder"], told["openvino"]) == ("512, 128", "10", "-", "True")
