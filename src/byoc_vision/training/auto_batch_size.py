"""The largest batch that fits into the GPU's memory, found by trying."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable

import torch
from torch import nn

from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.models.build import build_model
from byoc_vision.models.normalized import Normalized
from byoc_vision.precision import Precision, choose_device, choose_precision
from byoc_vision.training import resolve_config
from byoc_vision.training.distributed import World, smallest_over_processes
from byoc_vision.types import ModelSpec

logger = logging.getLogger(__name__)

MOST_IMAGES = 4096
MARGIN = 0.9  # of what fits: the loss, other kernels and fragments take some too


def with_fitting_batch_size(hyperparameters: Hyperparameters, dataset: Dataset, world: World) -> Hyperparameters:
    """The hyperparameters with the largest batch size that fits, if `auto_batch_size` asks for it.

    Raises OutOfMemoryError if not even one image fits.
    """
    if not hyperparameters.auto_batch_size:
        return hyperparameters
    device = choose_device()
    if device.type != "cuda":
        logger.info(
            "auto_batch_size looks at a GPU's memory; on the CPU batch_size stays %d", hyperparameters.batch_size
        )
        return hyperparameters
    spec = resolve_config.model_spec(hyperparameters, dataset)
    rule = resolve_config.preprocess(hyperparameters, spec, None)
    height, width = resolve_config.crop_size(hyperparameters, rule, spec.task) or (rule.height, rule.width)
    trial = Trial(spec, height, width, device, choose_precision(hyperparameters.precision, device))
    most = min(MOST_IMAGES, max(1, len(dataset.train) // world.size))
    found = largest_fitting(trial.fits, most)
    if found == 0:
        trial.step(1)  # raises
    size = smallest_over_processes(max(1, int(found * MARGIN)), world, device)
    logger.info("auto_batch_size: batch_size=%d (%d images fit once)", size, found)
    return hyperparameters.model_copy(update={"batch_size": size})


def largest_fitting(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, 0 if none does; `fits` must hold for all below one that fits.

    Doubles until it does not fit, and then halves the gap.
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class Trial:
    """Real training steps on random images, with a network of its own."""

    def __init__(self, spec: ModelSpec, height: int, width: int, device: torch.device, precision: Precision) -> None:
        net: nn.Module = Normalized(build_model(spec), (0.5,) * 3, (0.5,) * 3)
        self.net = net.to(device).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.0)  # keeps as much as any
        self.size = (height, width)
        self.device = device
        self.precision = precision

    def fits(self, images: int) -> bool:
        try:
            self.step(images)
        except torch.OutOfMemoryError:
            return False
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def step(self, images: int) -> None:
        """Forward, backward, and the optimiser. Raises OutOfMemoryError."""
        batch = torch.randint(256, (max(2, images), 3, *self.size), dtype=torch.uint8, device=self.device)
        with self.precision.autocast():
            logits = self.net(batch.to(memory_format=torch.channels_last))
        logits.float().square().mean().backward()
        self.optimizer.step()
