"""CUDA graphs: a network's kernels, recorded once for each size of a batch and started together from then on.

A small network's kernels take less time than Python takes to start them. No compiler is needed. What is recorded reads
and writes fixed memory: a batch is copied there, and padded to the next larger size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Forward = Callable[[Tensor], Tensor]

SIZES = (1, 2, 4, 8)
_WARM_UP_RUNS = 3  # cuDNN chooses its algorithms, and the allocator finds its memory, before the recording


class Recording(NamedTuple):
    """images, logits: the memory that `replay` reads and writes."""

    images: Tensor
    logits: Tensor
    replay: Callable[[], None]


Record = Callable[[Forward, Tensor], Recording]


class GraphedForward:
    """A forward pass that replays recordings. For one thread at a time.

    record: records a forward pass over an example, see `record_cuda_graph`.
    """

    def __init__(self, forward: Forward, record: Record, sizes: tuple[int, ...] = SIZES) -> None:
        self._forward = forward
        self._record = record
        self._sizes = sizes
        self._recordings: dict[int, Recording] = {}

    @property
    def sizes(self) -> tuple[int, ...]:
        """What is recorded."""
        return tuple(self._recordings)

    def record(self, image: Tensor, most: int) -> None:
        """Record the sizes that batches of up to `most` images need. image: an example, [1, 3, h, w]."""
        needed = next((size for size in self._sizes if size >= most), self._sizes[-1])
        for size in sorted(self._sizes, reverse=True):  # the largest first: the others share its memory
            if size > needed:
                continue
            images = image.repeat(size, 1, 1, 1).contiguous(memory_format=torch.channels_last)
            self._recordings[size] = self._record(self._forward, images)

    def __call__(self, images: Tensor) -> Tensor:
        """Images [N, 3, h, w] to logits; those of sizes and shapes that were not recorded are computed as usual."""
        count = len(images)
        fitting = [size for size in self._recordings if size >= count]
        if not fitting:
            return self._forward(images)
        recording = self._recordings[min(fitting)]
        if recording.images.shape[1:] != images.shape[1:]:
            return self._forward(images)
        recording.images[:count].copy_(images, non_blocking=True)  # the rest is an earlier batch's: no matter
        recording.replay()
        return recording.logits[:count].clone()  # the next replay overwrites them


def record_cuda_graph(device: torch.device) -> Record:
    """Records CUDA graphs that share memory: no two of them are replayed at the same time.

    They share it if they are recorded on one stream.
    """
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(forward: Forward, images: Tensor) -> Recording:
        graph = torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # also after a recording that fails, the stream before it is the current one
            for _ in range(_WARM_UP_RUNS):
                forward(images)
            # thread_local: other models of a multi-model endpoint may be at work in other threads.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                logits = forward(images)
        torch.cuda.current_stream(device).wait_stream(stream)
        return Recording(images, logits, graph.replay)

    return record
