"""When checkpoints are written and by which process, which of them this job can continue, and the state in them."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.fingerprint import DataChange, DataFingerprint, check_data
from byoc_vision.errors import InputError, list_problems
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World, all_gather, on_rank0
from byoc_vision.paths import MlPaths
from byoc_vision.training.batch_layout import Progress
from byoc_vision.training.checkpoint_file import OR_START_AGAIN, CheckpointStore, on_cpu
from byoc_vision.training.data_partition import DataPartition
from byoc_vision.types import ClassInfo

logger = logging.getLogger(__name__)


class Resumable(Protocol):
    """A training that checkpoints are made of."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def hyperparameters(self) -> Hyperparameters: ...

    @property
    def progress(self) -> Progress: ...

    @property
    def partition(self) -> DataPartition: ...

    def state_dict(self, processes: list[dict[str, Any]]) -> dict[str, Any]:
        """processes: the generators and the summed losses of each process."""
        ...

    def load_state_dict(self, content: dict[str, Any]) -> None: ...

    def load_weights(self, content: dict[str, Any]) -> None:
        """The checkpoint's weights alone."""
        ...

    def measure_best_again(self) -> None:
        """Measure the best model again: the validation images differ from the checkpoint's."""
        ...


class Checkpointer:
    """The job's checkpoints. The main process alone reads and writes; a thread of it writes, one file at a time.

    A step waits only for the copy of the state to main memory. store: None for a job without checkpoints.
    """

    def __init__(
        self,
        store: CheckpointStore | None,
        world: World,
        *,
        minutes: float = 0.0,
        epochs: int = 1,
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
        self._peeked: dict[str, Any] | None = None
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[int | None] | None = None

    @classmethod
    def of(cls, paths: MlPaths, hyperparameters: Hyperparameters, world: World) -> Checkpointer:
        """Raises ResourceError if the folder cannot be written."""
        store = None
        if hyperparameters.checkpoint_keep:
            store = CheckpointStore(paths.checkpoints, hyperparameters.checkpoint_keep)
            on_rank0(world, store.prepare)
        return cls(store, world, minutes=hyperparameters.checkpoint_minutes, epochs=hyperparameters.checkpoint_epochs)

    def load(self, training: Resumable) -> bool:
        """Load the newest checkpoint, if there is one and the job may resume; call it in all processes.

        With resume=weights only its weights are loaded, unless an earlier start of this job wrote it.

        Raises:
            InputError: names the differences if it is of another model, other classes, other data or another format.
        """
        content = self.peek() if training.hyperparameters.resume != "never" else None
        self._peeked = None
        if content is None:
            return False
        check_compatible(content, training.config)
        if training.hyperparameters.resume == "weights" and not _is_own(content, training):
            self._best_number = None
            training.load_weights(content)
            return True
        change = check_data(content, training.partition.fingerprint)
        for line in changed_settings(content, training.hyperparameters, self.world.size):
            logger.info("Changed since the checkpoint: %s", line)
        training.load_state_dict(content)
        if change.validation:
            training.measure_best_again()
        return True

    def peek(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, which `load` is going to load, in every process."""
        if self._peeked is None and self.store is not None:
            self._peeked = on_rank0(self.world, self.store.newest)
            self._best_number = self._peeked["best_number"] if self._peeked else None
        return self._peeked

    def continued(self, hyperparameters: Hyperparameters) -> dict[str, Any] | None:
        """The checkpoint whose measurements and choices this job keeps: it goes on as if it had not been stopped."""
        return self.peek() if hyperparameters.resume == "auto" else None

    def save(self, training: Resumable, *, proven: bool = True) -> None:
        """Save a checkpoint of this moment, between two steps; call it in all processes.

        If the weights are not `proven` it is written after the next step, if the loss is still a number: a step may
        move them too far, and the checkpoint before would be the last good one.
        """
        if self.store is None:
            return
        process = on_cpu({"random": random_state(), "sums": training.progress.sums})
        processes = all_gather(process, self.world)
        if not all(torch.isfinite(process["sums"]).all() for process in processes):
            return  # the training has diverged; the checkpoint before is good
        if self.world.is_main:
            self.hold(training.state_dict(processes))
            if proven:
                self.confirm()

    def after_step(self, training: Resumable) -> bool:
        """Write the checkpoint that waits for this step. Returns whether one is due.

        Raises ResourceError if a write failed.
        """
        if self._writing and self._writing.done():
            self.wait()
        if self.holds and torch.isfinite(training.progress.sums).all():
            self.confirm()
        return self.due_by_time()

    def due_by_time(self) -> bool:
        """Whether it is time for one, and the one before is on the disk."""
        if self.store is None or not self._seconds or self.holds or (self._writing and not self._writing.done()):
            return False
        return self._clock() - self._saved_at >= self._seconds

    def due_by_epoch(self, epoch: int) -> bool:
        return epoch % self._epochs == 0

    def keep_best(self, config: ModelConfig, weights: Mapping[str, Any]) -> None:
        """Write the best model so far with the next checkpoint."""
        if self.store is None or not self.world.is_main:
            return
        self._best = on_cpu({"card": config.model_dump(mode="json"), "model": dict(weights)})

    def hold(self, content: dict[str, Any]) -> None:
        """Copy `content` to main memory; it is written when `confirm` says that it is sound."""
        self._held = on_cpu(content)
        self._saved_at = self._clock()

    def confirm(self) -> None:
        """Write the copy that is held. Raises ResourceError if the write before failed."""
        if self._held is None:
            return
        self.wait()
        assert self.store is not None, "only a job with checkpoints holds one"
        held, best = self._held, self._best
        self._held = self._best = None
        self._writing = self._thread.submit(self.store.write, held, best, self._best_number)

    @property
    def holds(self) -> bool:
        return self._held is not None

    def wait(self) -> None:
        """Return when all is on the disk. Raises ResourceError if a write failed."""
        if self._writing:
            writing, self._writing = self._writing, None
            self._best_number = writing.result()


def _is_own(content: Mapping[str, Any], training: Resumable) -> bool:
    """Whether an earlier start of a job with resume=weights wrote the checkpoint: it continues from there."""
    if content["hyperparameters"].get("resume") != "weights":
        return False
    saved, now = content.get("data"), training.partition.fingerprint
    return saved is None or now is None or not DataChange.between(DataFingerprint.load(saved), now).gone


def has_ended(content: Mapping[str, Any], hyperparameters: Hyperparameters, enough: bool) -> bool:
    """Whether no epoch follows the checkpoint, which is logged: all are done, or the job stopped early and would again.

    A health rule stops a job early, too. enough: whether as many steps are made as the job asks for.
    """
    saved, now, done = content["hyperparameters"], hyperparameters.model_dump(mode="json"), len(content["records"])
    deciding = [name for name in now if name.startswith(("early_stopping", "health_"))]
    same = all(saved.get(name, now[name]) == now[name] for name in deciding)
    length = content.get("length")  # older checkpoints have none
    early = content["before"] < length["steps"] if length else done < int(saved["epochs"])
    if not enough and not (content["complete"] and same and early):
        return False
    raised = "budget` or `epochs" if hyperparameters.budget else "steps" if hyperparameters.steps else "epochs"
    logger.warning(
        f"All %d epochs are done; nothing was trained. Set a higher `{raised}` to go on, or resume=never to start from "
        "the beginning"
        if enough
        else "The training stopped early after %d epochs; nothing was trained. Set resume=never to start from the "
        "beginning",
        done,
    )
    return True


def check_compatible(content: Mapping[str, Any], config: ModelConfig) -> None:
    """Raises InputError that names each difference if the checkpoint is of another model or other classes."""
    saved = ModelConfig.model_validate(content["card"])
    differences = []
    for name, was in saved.model.model_dump().items():
        now = getattr(config.model, name)
        if (was or None) != (now or None):  # an older checkpoint has 0 for a dropout_rate that was not set
            differences.append(f"{name}: {_shown(was)} in the checkpoint, {_shown(now)} in this job")
    if saved.classes != config.classes:
        differences.append(
            f"classes: {_listed(saved.classes)} in the checkpoint, {_listed(config.classes)} in this job's data"
        )
    for name in ("mean", "std"):
        was, now = getattr(saved.preprocess, name), getattr(config.preprocess, name)
        if was != now:
            differences.append(f"the images' {name}: {was} in the checkpoint, {now} in this job (`pretrained` sets it)")
    if saved.activation != config.activation:
        differences.append(f"activation: {saved.activation} in the checkpoint, {config.activation} in this job")
    if differences:
        headline = f"the checkpoint is of another model. Continue with the same settings and classes, {OR_START_AGAIN}:"
        raise InputError(list_problems(headline, differences))


def changed_settings(content: Mapping[str, Any], hyperparameters: Hyperparameters, processes: int) -> list[str]:
    """How this job differs from the one that wrote the checkpoint, a line each."""
    saved, now = content["hyperparameters"], hyperparameters.model_dump(mode="json")
    lines = [
        f"{name}: {_shown(saved[name])} → {_shown(value)}"
        for name, value in now.items()
        if name in saved and saved[name] != value
    ]
    if content["grid"]["processes"] != processes:
        lines.append(f"processes: {content['grid']['processes']} → {processes}")
    return lines


def random_state() -> dict[str, Any]:
    """The generators of Python, NumPy, torch, and this process's GPU if it has one; plain values and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *map(float, rest)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Continue where `random_state` was called."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), gauss))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def kept_random_state() -> Iterator[None]:
    """The generators are at the end where they were at the beginning."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def optimizer_state(optimizer: Optimizer, net: nn.Module) -> dict[str, dict[str, Any]]:
    """The optimiser's state of each parameter, by the parameter's name: groups may differ when it is resumed."""
    names = _names(net)
    return {names[id(parameter)]: dict(state) for parameter, state in optimizer.state.items() if state}


def set_optimizer_state(optimizer: Optimizer, net: nn.Module, saved: dict[str, dict[str, Any]]) -> None:
    """Load what `optimizer_state` returned. The optimiser keeps its own settings, such as the weight decay."""
    names = _names(net)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    described = optimizer.state_dict()
    described["state"] = {
        index: {key: _laid_out_as(parameter, value) for key, value in saved[names[id(parameter)]].items()}
        for index, parameter in enumerate(parameters)
        if names[id(parameter)] in saved
    }
    optimizer.load_state_dict(described)


def set_schedule_steps(schedule: LambdaLR, steps: int) -> None:
    """Put the schedule where it is after `steps` steps, by its own curve and its own highest learning rate."""
    rates = [rate * curve(steps) for rate, curve in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
    schedule.load_state_dict(
        schedule.state_dict() | {"last_epoch": steps, "_step_count": steps + 1, "_last_lr": list(rates)}
    )
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _names(net: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in net.named_parameters()}


def _laid_out_as(parameter: nn.Parameter, value: Any) -> Any:
    """A tensor of the parameter's shape in the parameter's memory format, which fused kernels rely on."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _shown(value: Any) -> str:
    return "none" if value in (None, [], ()) else str(value)


def _listed(classes: tuple[ClassInfo, ...], most: int = 12) -> str:
    names = [entry.name + ("" if entry.value is None else f" ({entry.value})") for entry in classes]
    return ", ".join(names[:most]) + (f", … {len(names)} in all" if len(names) > most else "")
