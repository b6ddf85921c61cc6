"""One network in several processes: averaged gradients, shared batch normalisation."""

from __future__ import annotations

import logging

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from byoc_vision.training.distributed import World

logger = logging.getLogger(__name__)


def synchronised(net: nn.Module, device: torch.device, world: World) -> nn.Module:
    """The network with its batch normalisation over all processes' images. Its weights keep their names."""
    if device.type != "cuda" or world.size == 1:
        logger.warning("sync_batch_norm does nothing: it takes several GPUs")
        return net
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
    return converted


def joined(model: nn.Module, world: World) -> nn.Module:
    """The model with its gradients averaged over all processes."""
    if world.size == 1:
        return model
    on_gpu = torch.cuda.is_available()
    return DistributedDataParallel(model, device_ids=[world.local_rank] if on_gpu else None)


def bare(model: nn.Module) -> nn.Module:
    """The model without the averaging of `joined`."""
    return model.module if isinstance(model, DistributedDataParallel) else model
