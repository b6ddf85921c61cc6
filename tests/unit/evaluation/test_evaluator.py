"""One pass of evaluation, on answers that are known beforehand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.loaders import EvaluationBatch
from byoc_vision.errors import DataError
from byoc_vision.evaluation.epoch_record import Metrics
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.models.losses import Loss, build_loss
from byoc_vision.precision import choose_precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

CPU = torch.device("cpu")
NAMES = ("red", "green", "blue")


def evaluate(activation: str, batches: list[EvaluationBatch], loss: Loss | None = None) -> Metrics:
    """Of a network for which the mean of each colour is the logit of its class."""
    config = ModelConfig(
        model=ModelSpec(task="classification", architecture="test", outputs=3),
        classes=tuple(ClassInfo(name=name) for name in NAMES),
        activation=activation,
        preprocess=Preprocess(height=4, width=4, mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1)),
    )
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    predictor = Predictor(config, TorchEngine(net, config, CPU, choose_precision("float32", CPU)))
    return Evaluator(predictor, config.classes, batch_size=4, loss=loss).evaluate(batches)


def batch(colours: list[tuple[int, int, int]], targets: list[object], unreadable: int = 0) -> EvaluationBatch:
    count = len(colours)
    images = torch.zeros(count, 3, 4, 4, dtype=torch.uint8)
    for image, colour in zip(images, colours, strict=True):
        image += torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    sizes, reasons = [4] * count, ["image.png is cut short"] * unreadable
    return EvaluationBatch(images, sizes, sizes, [np.array(target) for target in targets], list(range(count)), reasons)


RED, BLUE, PURPLE = (255, 0, 0), (0, 0, 255), (255, 0, 255)


def test_metrics_and_loss_are_of_all_batches() -> None:
    batches = [batch([RED, BLUE], [0, 2]), batch([BLUE], [1])]
    loss = build_loss("cross_entropy", "softmax", task="classification")
    figures = evaluate("softmax", batches, loss)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["loss"] == pytest.approx(10 / 3, rel=1e-3)  # the wrong one's: 5 against -5, over three images


def test_of_several_classes_each_is_measured() -> None:
    batches = [batch([PURPLE, RED], [np.uint8([1, 0, 1]), np.uint8([1, 1, 0])])]
    loss = build_loss("cross_entropy", "sigmoid", task="classification")
    figures = evaluate("sigmoid", batches, loss)
    assert figures["accuracy"] == pytest.approx(5 / 6)
    assert figures["exact_match"] == 0.5
    assert figures["loss"] == pytest.approx(5 / 6, rel=2e-2)


def test_images_left_out_do_not_change_metrics_and_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    batches = [batch([RED], [0], unreadable=1), batch([], [], unreadable=2), batch([BLUE], [1])]
    with caplog.at_level(logging.WARNING):
        figures = evaluate("softmax", batches)
    assert figures["accuracy"] == 0.5
    assert "3 of 5 images cannot be read: the metrics are of the others" in caplog.text


def test_if_no_image_is_left_there_are_no_metrics() -> None:
    with pytest.raises(DataError, match="none of the 2 images to be evaluated can be read"):
        evaluate("softmax", [batch([], [], unreadable=2)])


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 1), (4,)])
def test_the_loss_does_not_depend_on_the_size_of_the_batches(sizes: tuple[int, ...]) -> None:
    colours, targets = [RED, PURPLE, BLUE, BLUE], [0, 0, 2, 1]
    loss = build_loss("cross_entropy", "softmax", task="classification", class_weights=[1, 20, 0.1])
    batches, start = [], 0
    for size in sizes:
        batches.append(batch(colours[start : start + size], targets[start : start + size]))
        start += size
    metrics = evaluate("softmax", batches, loss)
    logits = torch.tensor([[5.0, -5, -5], [5, -5, 5], [-5, -5, 5], [-5, -5, 5]])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), torch.tensor([1, 20, 0.1]))
    assert metrics["loss"] == pytest.approx(expected.item(), rel=5e-3)
