"""Training steps of a tiny network on drawn bytes, with the health rules looking on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from support.shared_steps import Bytes
from torch import Tensor, nn

from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.models.losses import build_loss
from byoc_vision.precision import choose_precision
from byoc_vision.report.record import Finding
from byoc_vision.training.batch_layout import Progress
from byoc_vision.training.callback import Callback
from byoc_vision.training.callbacks.step_watch import StepWatch
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Batch, Step

CPU = torch.device("cpu")
SIZE, COUNT, CLASSES = 8, 16, 3


def plain_net() -> nn.Sequential:
    """Convolution, ReLU, convolution, ReLU, answer; layers 1, 3 and 6 have weights."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, CLASSES)]
    return nn.Sequential(Bytes(), *layers)


def colours(step: int) -> Batch:
    """uint8 [16, 3, 8, 8]; the class is the brightest channel."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(CLASSES, (COUNT,), generator=generator)
    images = torch.randint(160, (COUNT, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    images[torch.arange(COUNT), labels] += 90
    return images, labels


def batches(count: int) -> list[Batch]:
    return [colours(step) for step in range(count)]


def run(
    net: nn.Module,
    taken: Iterable[Batch],
    *,
    optimizer: str = "sgd",
    learning_rate: float = 0.02,
    watched: bool = True,
    monitor: HealthMonitor | None = None,
) -> tuple[list[Finding], Tensor]:
    """Train an epoch; what the rules found, and the summed loss."""
    moved = build_optimizer(optimizer, net, learning_rate, weight_decay=0.0)
    schedule = build_schedule("constant", moved, total_steps=100, steps_per_epoch=100)
    precision = choose_precision("float32", CPU)
    monitor = monitor or HealthMonitor()
    observer = StepWatch(
        monitor, net, net, moved, CPU, precision.autocast, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    loss = build_loss("cross_entropy", "softmax", task="classification")
    watch: Callback = observer if watched else Callback()
    step = Step(net, loss, moved, schedule, precision, precision.scaler(), CPU, callbacks=watch)
    progress = Progress()
    watch.epoch_begin(1, 0)
    step.begin()
    for batch in taken:
        progress.add(step([batch]), 1)
        if monitor.stopped_by:
            break
    watch.epoch_trained()
    return monitor.findings, progress.sums


def spoilt(spoil: Callable[[nn.Sequential], object]) -> nn.Sequential:
    """The plain network after `spoil` has changed its weights."""
    net = plain_net()
    with torch.no_grad():
        spoil(net)
    return net
