"""One process, or one for each GPU of each host, and what they tell each other.

The launcher is torchrun's agent, see launcher.py; a process that it started finds its place in the environment (RANK,
LOCAL_RANK, WORLD_SIZE).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from byoc_vision.errors import InputError, ResourceError
from byoc_vision.job import Job

logger = logging.getLogger(__name__)

MASTER_PORT = 29_500
PROCESSES_VARIABLE = "BYOC_PROCESSES_PER_HOST"
# Checking a large data set keeps the other processes waiting for the first one.
COLLECTIVE_TIMEOUT = timedelta(minutes=30)
# SageMaker starts the hosts of a job at about the same time; names appear when their containers do.
HOSTS_APPEAR_WITHIN_S = 300.0

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
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def share(self) -> Share:
        """Of what all processes share out among themselves."""
        return Share(self.rank, self.size)

    @property
    def share_of_host(self) -> Share:
        """Of what the processes of this host share out among themselves."""
        return Share(self.local_rank, processes_per_host())

    @classmethod
    def from_environment(cls) -> World:
        return cls(
            rank=int(os.environ.get("RANK", "0")),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            size=int(os.environ.get("WORLD_SIZE", "1")),
        )


def processes_per_host() -> int:
    """One a GPU; on CPUs one, or as many as BYOC_PROCESSES_PER_HOST says. Raises InputError where that is no number."""
    asked = os.environ.get(PROCESSES_VARIABLE)
    if not asked:
        return max(1, torch.cuda.device_count())
    if not asked.isdigit() or int(asked) == 0:
        raise InputError(f"{PROCESSES_VARIABLE}={asked} is not a number of processes, such as 2")
    return int(asked)


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ


def needs_launch(job: Job) -> bool:
    """Whether the job takes more than this process. No in a process that was launched."""
    return not is_launched() and len(job.hosts) * processes_per_host() > 1


def launch_environment(job: Job) -> dict[str, str]:
    """What the processes' collectives need to know of the network."""
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes_per_host()))}
    if job.network_interface:
        environment |= {"NCCL_SOCKET_IFNAME": job.network_interface, "GLOO_SOCKET_IFNAME": job.network_interface}
    return environment | dict(os.environ)


def wait_for_hosts(hosts: Sequence[str], within_s: float = HOSTS_APPEAR_WITHIN_S) -> None:
    """Return once every host's name resolves. Raises ResourceError that names those that do not."""
    deadline = time.monotonic() + within_s
    missing = list(hosts)
    while missing := [host for host in missing if not _resolves(host)]:
        if time.monotonic() > deadline:
            raise ResourceError(
                f"these hosts of the job did not appear within {within_s:.0f} s: {', '.join(missing)}; "
                "see whether their containers started"
            )
        time.sleep(0.5)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, MASTER_PORT)
    except OSError:
        return False
    return True


@contextmanager
def process_group(world: World) -> Iterator[None]:
    """The processes of the job joined: NCCL where there are GPUs, Gloo elsewhere. Alone, nothing happens."""
    if world.size == 1:
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(world.local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=COLLECTIVE_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def on_first(world: World, produce: Callable[[], T]) -> T:
    """What `produce` makes in the first process, in every process. An error there is an error everywhere."""
    if world.size == 1:
        return produce()
    outcome: list[T | BaseException | None] = [None]
    if world.is_first:
        try:
            outcome[0] = produce()
        except BaseException as error:
            dist.broadcast_object_list([error], src=0)
            raise
    dist.broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]  # type: ignore[return-value]


def gathered(value: T, world: World) -> list[T]:
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
    for result in gathered(outcome, world):
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


def share_statistics(model: nn.Module, world: World) -> None:
    """Give every process the first one's buffers.

    Each process's batch normalisation saw its own images since the last step; the first one's statistics are saved,
    so they are the ones to evaluate with.
    """
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def any_process(flag: bool, world: World, device: torch.device) -> bool:
    """Whether any process says so: all of them then act on it in the same step."""
    if world.size == 1:
        return flag
    return bool(sum_over_processes(torch.tensor(float(flag), device=device), world).item())
