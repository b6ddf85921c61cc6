"""When checkpoints are written, by whom, and what is in them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from byoc_vision.artifact import ModelConfig
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.paths import MlPaths
from byoc_vision.training.checkpoint_file import CheckpointStore
from byoc_vision.training.distributed import World, on_first
from byoc_vision.training.packing import on_cpu

logger = logging.getLogger(__name__)


class Checkpoints:
    """The job's checkpoints. The first process alone reads and writes; a thread of it writes, one file at a time.

    A step waits for the copy of the state to main memory, and for nothing else.
    """

    def __init__(
        self,
        store: CheckpointStore,
        world: World,
        *,
        minutes: float,
        epochs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.world = world
        self._seconds = minutes * 60
        self._epochs = epochs
        self._clock = clock
        self._saved_at = clock()
        self._held: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None  # not written yet
        self._best_number: int | None = None
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[int | None] | None = None

    @classmethod
    def of(cls, paths: MlPaths, hyperparameters: Hyperparameters, world: World) -> Checkpoints | None:
        """None where the job wants none. Raises ResourceError where the folder cannot be written."""
        if not hyperparameters.checkpoint_keep:
            return None
        store = CheckpointStore(paths.checkpoints, hyperparameters.checkpoint_keep)
        on_first(world, store.prepare)
        return cls(
            store,
            world,
            minutes=hyperparameters.checkpoint_minutes,
            epochs=hyperparameters.checkpoint_epochs,
        )

    def newest(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, in every process."""
        content = on_first(self.world, self.store.newest)
        if content is not None:
            self._best_number = content["best_number"]
        return content

    def due_by_time(self) -> bool:
        """Whether it is time for one, and the one before is on the disk."""
        if not self._seconds or self.holds or (self._writing and not self._writing.done()):
            return False
        return self._clock() - self._saved_at >= self._seconds

    def due_by_epoch(self, epoch: int) -> bool:
        return epoch % self._epochs == 0

    def keep_best(self, config: ModelConfig, weights: dict[str, Any]) -> None:
        """Have the best model so far written with the next checkpoint."""
        self._best = on_cpu({"card": config.model_dump(mode="json"), "model": weights})

    def hold(self, content: dict[str, Any]) -> None:
        """Copy `content` to main memory; it is written once `confirm` says that it is worth it."""
        self._held = on_cpu(content)
        self._saved_at = self._clock()

    def confirm(self) -> None:
        """Have the copy that is held written. Raises ResourceError where the write before failed."""
        if self._held is None:
            return
        self.wait()
        held, best = self._held, self._best
        self._held = self._best = None
        self._writing = self._thread.submit(self.store.write, held, best, self._best_number)

    def save(self, content: dict[str, Any]) -> None:
        """Have a copy of `content` written, in place of one that is held."""
        self.hold(content)
        self.confirm()

    @property
    def holds(self) -> bool:
        return self._held is not None

    def check(self) -> None:
        """Raises ResourceError where a write failed."""
        if self._writing and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Return once all is on the disk. Raises ResourceError where it is not."""
        if self._writing:
            writing, self._writing = self._writing, None
            self._best_number = writing.result()
