"""A process's share of training steps: run by a test in several processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from support.gloo import joined
from torch import Tensor, nn

from byoc_vision.launch.distributed import World, sum_over_processes, wrap_ddp
from byoc_vision.models.losses import Activation, Loss, build_loss
from byoc_vision.precision import choose_precision
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Batch, Step
from byoc_vision.types import Task

IMAGES = 14  # two parts of equal size, four of unequal size
STEPS = 3
SIDE = 8
CLASSES = 3
IGNORED = 255


@dataclass(frozen=True)
class Case:
    """A loss, and targets of its kind."""

    name: str
    activation: Activation = "softmax"
    task: Task = "segmentation"
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    mixed: bool = False

    @property
    def outputs(self) -> int:
        return 1 if self.task == "segmentation" and self.activation == "sigmoid" else CLASSES

    def loss(self) -> Loss:
        return build_loss(
            self.name,
            self.activation,
            task=self.task,
            class_weights=self.class_weights,
            label_smoothing=self.label_smoothing,
        )

    def targets(self, generator: torch.Generator) -> Tensor:
        """Labels [N], answers of yes or no [N, K], shares of classes [N, K], or masks [N, h, w] in which images have
        ignored pixels, from none to all.
        """
        if self.task == "classification":
            if self.activation == "sigmoid":
                return torch.randint(2, (IMAGES, CLASSES), dtype=torch.uint8, generator=generator)
            if self.mixed:
                return torch.rand((IMAGES, CLASSES), generator=generator).softmax(1)
            return torch.randint(CLASSES, (IMAGES,), generator=generator)
        classes = 2 if self.activation == "sigmoid" else CLASSES
        masks = torch.randint(classes, (IMAGES, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        for index in range(IMAGES):
            masks[index, : SIDE * index // (IMAGES - 1)] = IGNORED
        return masks

    def net(self) -> nn.Module:
        if self.task == "classification":
            return nn.Sequential(Bytes(), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, self.outputs))
        return nn.Sequential(Bytes(), nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, self.outputs, 1))


UNEQUAL = (0.1, 20.0, 1.0)
CASES = {
    "labels": Case("cross_entropy", task="classification"),
    "labels, weighted": Case("cross_entropy", task="classification", class_weights=UNEQUAL),
    "labels, weighted and smoothed": Case("cross_entropy", "softmax", "classification", UNEQUAL, 0.1),
    "labels, focal": Case("focal", task="classification", class_weights=UNEQUAL),
    "mixed labels, weighted and smoothed": Case("cross_entropy", "softmax", "classification", UNEQUAL, 0.1, mixed=True),
    "several labels": Case("cross_entropy", "sigmoid", "classification", UNEQUAL, 0.1),
    "several labels, focal": Case("focal", "sigmoid", "classification", UNEQUAL),
    "masks": Case("cross_entropy"),
    "masks, weighted and smoothed": Case("cross_entropy", class_weights=UNEQUAL, label_smoothing=0.1),
    "masks, focal": Case("focal", class_weights=UNEQUAL),
    "masks, dice": Case("dice", class_weights=UNEQUAL),
    "masks, bce_dice": Case("bce_dice", class_weights=UNEQUAL),
    "masks of two classes": Case("bce_dice", "sigmoid", class_weights=(0.1, 5.0)),
    "masks of two classes, dice": Case("dice", "sigmoid"),
    "masks of two classes, focal": Case("focal", "sigmoid", class_weights=(0.1, 5.0)),
}


def batch(case: Case, step: int) -> Batch:
    """A batch of all processes: uint8 [14, 3, 8, 8] and targets."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return images, case.targets(generator)


class Bytes(nn.Module):
    """Bytes as floats around 0."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float() / 128 - 1


def train(case: Case, world: World, accumulate_steps: int) -> list[Tensor]:
    """The parameters, and the summed loss, after a few steps, each process on its part of the images."""
    torch.manual_seed(0)
    net = case.net()
    optimizer = build_optimizer("sgd", net, 0.01, momentum=0.9)
    schedule = build_schedule("constant", optimizer, total_steps=STEPS, steps_per_epoch=STEPS)
    device = torch.device("cpu")
    precision = choose_precision("float32", device)
    step = Step(
        wrap_ddp(net, world), case.loss(), optimizer, schedule, precision, precision.scaler(), device, world=world
    )
    sums = torch.zeros(2, dtype=torch.float64)
    for index in range(STEPS):
        images, targets = (part[world.rank :: world.size] for part in batch(case, index))
        size = -(-len(images) // accumulate_steps)
        sums += step(list(zip(images.split(size), targets.split(size), strict=True)))
    return [*(parameter.detach() for parameter in net.parameters()), sum_over_processes(sums, world)]


def train_shares(rank: int, size: int, store: str) -> dict[tuple[str, int], list[Tensor]]:
    """What `train` gives for each case and for batches taken in one and in two parts, in a process of several."""
    with joined(rank, store, size) as world:
        return {(name, parts): train(case, world, parts) for name, case in CASES.items() for parts in (1, 2)}


def take_part(rank: int, size: int, store: str) -> None:
    """What all processes but the first do."""
    train_shares(rank, size, store)
