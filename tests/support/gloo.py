"""Processes of a test that talk to each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from byoc_vision.launch.distributed import World


@contextmanager
def joined(rank: int, store: str, size: int = 2) -> Iterator[World]:
    """Within the context this process is one of `size` that find each other in the file `store`."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    try:
        yield World(rank, rank, size)
    finally:
        dist.destroy_process_group()
