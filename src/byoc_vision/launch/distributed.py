"""One process, or one for each GPU of each host, and how they communicate.

The launcher is torchrun's agent, see agent.py; a process that it started finds its place in the environment (RANK,
LOCAL_RANK, WORLD_SIZE).
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from byoc_vision.job import Job
from byoc_vision.launch.hosts import PROCESSES_VARIABLE, choose_processes

logger = logging.getLogger(__name__)

# Checking a large data set keeps the other processes waiting for the first one.
COLLECTIVE_TIMEOUT = timedelta(minutes=30)
EXCHANGE_SECONDS = 1.0  # between two exchanges of StopSync; one in each step would make the CPU wait for the GPU
MOST_STEPS = 1_000
# Whether each forward pass begins with the buffers of the first process; newer torch has another name for it.
SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)

T = TypeVar("T")


class Share(NamedTuple):
    """A process's part of some samples: every `size`-th, from the one at `rank` on."""

    rank: int = 0
    size: int = 1


@dataclass(frozen=True)
class World:
    """This process's place: `rank` among all, `local_rank` on its host."""

    rank: int = 0
    local_rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def share(self) -> Share:
        """Of samples that all processes divide among themselves."""
        return Share(self.rank, self.size)

    @property
    def share_of_host(self) -> Share:
        """Of samples that the processes of this host divide among themselves."""
        return Share(self.local_rank, processes_per_host())

    @classmethod
    def from_environment(cls) -> World:
        return cls(
            rank=int(os.environ.get("RANK", "0")),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            size=int(os.environ.get("WORLD_SIZE", "1")),
        )


def processes_per_host() -> int:
    """One for each GPU; on CPUs one. BYOC_PROCESSES_PER_HOST sets another number.

    Raises:
        InputError: the variable is not a number of processes.
    """
    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0  # it also counts those that cannot be used
    return choose_processes(os.environ.get(PROCESSES_VARIABLE), usable)


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ


def needs_launch(job: Job) -> bool:
    """Whether the job takes more than this process. No in a process that was launched."""
    return not is_launched() and len(job.hosts) * processes_per_host() > 1


@contextmanager
def process_group(world: World) -> Iterator[None]:
    """The process group of the job: NCCL on GPUs, Gloo elsewhere. A single process needs none.

    After an error the group stays: to leave it NCCL waits for all that the process has started, which the others may
    never join. The process then reports the error, and ends at once; see `leave_failed`.
    """
    if world.size == 1:
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(world.local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=COLLECTIVE_TIMEOUT)
    yield
    dist.destroy_process_group()


def leave_failed(status: int) -> None:
    """End this process, if it is still in a process group: Python's own end would leave the group, and may hang."""
    if dist.is_initialized():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def on_rank0(world: World, produce: Callable[[], T]) -> T:
    """What `produce` makes in the main process, in every process. An error there is an error everywhere."""
    if world.size == 1:
        return produce()
    outcome: list[T | BaseException | None] = [None]
    if world.is_main:
        try:
            outcome[0] = produce()
        except BaseException as error:
            dist.broadcast_object_list([error], src=0)
            raise
    dist.broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]  # type: ignore[return-value]


def all_gather(value: T, world: World) -> list[T]:
    """The value of every process, in the order of their ranks, in each of them."""
    if world.size == 1:
        return [value]
    values: list[T | None] = [None] * world.size
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def on_hosts(world: World, produce: Callable[[], T]) -> list[T]:
    """What `produce` makes in the first process of each host, in the order of the hosts, in every process.

    An error on one host is an error everywhere.
    """
    outcome: tuple[T] | BaseException | None = None
    if world.local_rank == 0:
        try:
            outcome = (produce(),)
        except BaseException as error:
            outcome = error
    made: list[T] = []
    for result in all_gather(outcome, world):
        if isinstance(result, BaseException):
            raise result
        made += result or ()
    return made


def sum_over_processes(values: Tensor, world: World) -> Tensor:
    """The sum of each element over all processes, in each of them."""
    if world.size > 1:
        dist.all_reduce(values)
    return values


def smallest_over_processes(value: int, world: World, device: torch.device) -> int:
    """The smallest of the processes' values, in each of them."""
    if world.size == 1:
        return value
    smallest = torch.tensor(value, device=device)
    dist.all_reduce(smallest, dist.ReduceOp.MIN)
    return int(smallest.item())


def broadcast_buffers(model: nn.Module, world: World) -> None:
    """Give every process the main one's buffers.

    Each process's batch normalisation saw its own images since the last step; the main one's statistics are saved,
    so they are the ones to evaluate with.
    """
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def any_process(flag: bool, world: World, device: torch.device) -> bool:
    """Whether it is set in any process; all of them then act on it in the same step."""
    if world.size == 1:
        return flag
    return bool(sum_over_processes(torch.tensor(float(flag), device=device), world).item())


def synchronised(net: nn.Module, device: torch.device, world: World) -> nn.Module:
    """The network with its batch normalisation over all processes' images. Its weights keep their names."""
    if device.type != "cuda" or world.size == 1:
        logger.warning("sync_batch_norm does nothing: it takes several GPUs")
        return net
    return convert_batch_norm(net)


def convert_batch_norm(net: nn.Module) -> nn.Module:
    """The network with SyncBatchNorm, which computes the same.

    torch's own conversion would leave out the activations that timm computes in its layers of batch normalisation.
    """
    import timm.layers  # it takes a second, which a job without need not wait for

    converted: nn.Module = timm.layers.convert_sync_batchnorm(net)  # type: ignore[attr-defined,no-untyped-call]
    return converted


def wrap_ddp(model: nn.Module, world: World) -> nn.Module:
    """The model with its gradients averaged over all processes.

    Gradients lie in the buffers that are sent, rather than in a copy. Statistics of batch normalisation are not sent
    with each step: `broadcast_buffers` does it where they count.
    """
    if world.size == 1:
        return model
    # Kernels of 1 × 1 have two sets of strides for the same order of numbers: the one is as fast as the other.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    on_gpu = torch.cuda.is_available()
    options: dict[str, Any] = {SYNC_BUFFERS: False, "gradient_as_bucket_view": True}
    return DistributedDataParallel(model, device_ids=[world.local_rank] if on_gpu else None, **options)


def unwrap(model: nn.Module) -> nn.Module:
    """The model without the averaging of `wrap_ddp`."""
    return model.module if isinstance(model, DistributedDataParallel) else model


class StopSync:
    """What all processes do after a step: stop, or write a checkpoint. Call it after each step, in every process.

    The processes exchange one small sum every so many steps. The main process says how many, from the time its own
    steps take, so that all of them meet in the same step. A single process exchanges nothing.
    """

    def __init__(self, world: World, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self.world = world
        self.device = device
        self._clock = clock
        self._interval = 1  # steps from the last exchange to the next
        self._steps = 0  # since the last exchange
        self._exchanged_at = clock()

    def __call__(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """Whether to stop, and whether to write a checkpoint; the same in all processes.

        Args:
            stop: this process was asked to stop.
            due: the main process wants a checkpoint; the others' is ignored.
        """
        if self.world.size == 1:
            return stop, due
        self._steps += 1
        if self._steps < self._interval:
            return False, False
        is_main = self.world.is_main
        said = torch.tensor(
            [float(stop), float(due and is_main), float(self._next_interval() if is_main else 0)], device=self.device
        )
        dist.all_reduce(said)
        stopping, checkpoint, interval = said.tolist()
        self._interval, self._steps, self._exchanged_at = int(interval), 0, self._clock()
        return stopping > 0, checkpoint > 0

    def _next_interval(self) -> int:
        step_s = (self._clock() - self._exchanged_at) / self._steps
        return max(1, min(MOST_STEPS, int(EXCHANGE_SECONDS / max(step_s, 1e-6))))
