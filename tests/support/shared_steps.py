"""A process's share of training steps: run by a test in several processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from byoc_vision.precision import choose_precision
from byoc_vision.training.distributed import World, wrap_ddp
from byoc_vision.training.losses import build_loss
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Batch, Step

IMAGES = 16
STEPS = 3


def images(step: int) -> Batch:
    """A global batch: uint8 [16, 3, 8, 8] and labels."""
    generator = torch.Generator().manual_seed(step)
    shown = torch.randint(256, (IMAGES, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return shown, torch.randint(3, (IMAGES,), generator=generator)


class Bytes(nn.Module):
    """Bytes as floats around 0."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float() / 128 - 1


def train(world: World, accumulate_steps: int) -> list[Tensor]:
    """The parameters after a few steps over the global batches, each process on its share of the images."""
    torch.manual_seed(0)
    net = nn.Sequential(Bytes(), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    optimizer = build_optimizer("sgd", net, 0.1, momentum=0.9)
    schedule = build_schedule("constant", optimizer, total_steps=STEPS, steps_per_epoch=STEPS)
    device = torch.device("cpu")
    precision = choose_precision("float32", device)
    loss = build_loss("cross_entropy", "softmax", task="classification")
    step = Step(wrap_ddp(net, world), loss, optimizer, schedule, precision, precision.scaler(), device)
    for index in range(STEPS):
        shown, labels = (part[world.rank :: world.size] for part in images(index))
        size = len(shown) // accumulate_steps
        step(list(zip(shown.split(size), labels.split(size), strict=True)))
    return [parameter.detach() for parameter in net.parameters()]


def join(rank: int, size: int, store: str) -> World:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    return World(rank=rank, local_rank=rank, size=size)


def train_shares(rank: int, size: int, store: str) -> list[list[Tensor]]:
    """The parameters after each process's share of the steps, for batches taken in one and in two parts."""
    world = join(rank, size, store)
    try:
        return [train(world, accumulate_steps) for accumulate_steps in (1, 2)]
    finally:
        dist.destroy_process_group()


def take_part(rank: int, size: int, store: str) -> None:
    """What all processes but the first do."""
    train_shares(rank, size, store)
