"""Whether the server is ready: one byte for each worker, in memory that all workers share."""

from __future__ import annotations

import mmap
from enum import IntEnum


class State(IntEnum):
    STARTING = 0
    READY = 1
    FAILED = 2


class Readiness:
    """The state of every worker; created before they are forked.

    A request may reach any worker, so the server is ready when all of them are.
    `exit_code` is the server's exit status if a model cannot be loaded, 0 otherwise.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._memory = mmap.mmap(-1, workers + 1)
        self._all_ready = bytes([State.READY]) * workers

    def __getitem__(self, worker: int) -> State:
        return State(self._memory[worker])

    def __setitem__(self, worker: int, state: State) -> None:
        self._memory[worker] = state

    @property
    def ready(self) -> bool:
        return self._memory[: self._workers] == self._all_ready

    @property
    def exit_code(self) -> int:
        return self._memory[self._workers]

    @exit_code.setter
    def exit_code(self, code: int) -> None:
        self._memory[self._workers] = code
