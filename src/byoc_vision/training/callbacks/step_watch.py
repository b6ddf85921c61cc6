"""Gathers what the rules judge of single steps: losses, and tensors in a few of them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from byoc_vision.health.facts import Explosion, StepFacts
from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.health.tensor_stats import Pace, TensorStats
from byoc_vision.launch.job_time import seconds_since_start
from byoc_vision.training.callback import Callback
from byoc_vision.training.callbacks.step_timer import StepLosses

_SHOWS = 0.01  # the least share of the highest learning rate at which weights must be seen to move
_ALARMING = 2.0  # times the first loss: from there on each loss is read before it does harm


class StepWatch(Callback):
    """Changes nothing of what a step computes.

    model: takes uint8 images, and does not average its gradients; net: the network within it, whose layers are named.
    mean, std: of its normalisation, in units of 0–1. scaled: whether gradients may overflow regularly (float16).
    """

    def __init__(
        self,
        monitor: HealthMonitor,
        model: nn.Module,
        net: nn.Module,
        optimizer: Optimizer,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        scaled: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._monitor = monitor
        self._model, self._net, self._optimizer, self._device = model, net, optimizer, device
        self._autocast = autocast
        self._mean, self._std = mean, std
        self._scaled = scaled
        self._clock = clock
        self._step_losses = StepLosses(device)
        self._pace = Pace()
        self._stats: TensorStats | None = None
        self._look_seconds = 0.0
        self._ended_at: float | None = None  # the step before this one
        self._images: Tensor | None = None
        self._losses: list[Tensor] = []
        self._first_loss: float | None = None
        self._last_loss = 0.0
        self._exploded = False
        self._epoch, self._step = 1, 0
        self._is_first_step = True
        self._resumed = False

    @property
    def interval(self) -> int:
        """Steps from one look at tensors to the next."""
        return self._pace.interval

    def epoch_begin(self, epoch: int, step: int) -> None:
        self._epoch, self._step = epoch, step
        self._resumed = self._resumed or (self._is_first_step and (epoch > 1 or step > 0))
        self._ended_at = None

    def step_begin(self) -> None:
        self._step += 1
        self._losses = []
        self._look_seconds = 0.0
        with self._looking():
            if self._pace.is_due:
                self._stats = TensorStats(self._net)

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        self._images = images
        with self._looking():
            if self._stats:
                self._stats.images(images)

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        self._losses.append(loss.detach())
        with self._looking():
            if self._stats:
                self._stats.forward_ends()
                self._look_seconds += self._stats.seconds_in_forward
        if not self._exploded and self._is_careful() and not torch.isfinite(loss):
            self._explode("the loss", logits_are_finite=bool(torch.isfinite(logits).all()))

    def gradients_ready(self) -> None:
        with self._looking():
            if self._stats:
                self._stats.gradients()

    def step_end(self) -> None:
        loss = self._losses[0] if len(self._losses) == 1 else torch.stack(self._losses).mean()
        with self._looking():
            if self._stats:
                self._judge(self._stats, loss)
                self._stats = None
        self._step_losses.put(self._step, loss)
        self._judge_losses()
        now = self._clock()
        self._pace.step_ended(now - self._ended_at if self._ended_at else None, self._look_seconds)
        self._ended_at = now

    def epoch_trained(self) -> None:
        """Judge the losses that the device has not computed before."""
        self._judge_losses(wait=True)
        self._images = None

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """What is done within counts as the cost of a look."""
        started = self._clock()
        yield
        self._look_seconds += self._clock() - started

    def _judge(self, stats: TensorStats, loss: Tensor) -> None:
        look = stats.result(
            loss,
            first_loss=self._first_loss,
            moved=self._learning_rate_shows(),
            untrained=self._pace.is_first and not self._resumed,
            mean=self._mean,
            std=self._std,
        )
        if self._first_loss is None:
            self._first_loss = look.first_loss
        infinite = [name for name, weight in look.weights.items() if not weight.gradient < float("inf")]
        if infinite and not self._scaled and not self._exploded:
            self._exploded = True
            found = Explosion(f"the gradient of {infinite[-1]}", "the loss is finite: it arose in the backward pass")
            self._monitor.judge(found, self._epoch, self._step)
        if not infinite:
            self._monitor.judge(look, self._epoch, self._step)

    def _learning_rate_shows(self) -> bool:
        """At the end of a schedule steps are too small to be seen."""
        groups = self._optimizer.param_groups
        return all(group["lr"] >= _SHOWS * group.get("initial_lr", group["lr"]) > 0 for group in groups)

    def _is_careful(self) -> bool:
        """Whether to make the CPU wait for the loss: in a look, and if the loss has begun to grow fast."""
        running_away = self._first_loss is not None and self._last_loss > _ALARMING * self._first_loss
        return self._device.type == "cpu" or self._stats is not None or running_away

    def _judge_losses(self, *, wait: bool = False) -> None:
        for step, loss in self._step_losses.take(wait=wait):
            self._last_loss = loss
            since_start = seconds_since_start() if self._is_first_step else None
            self._is_first_step = False
            self._monitor.judge(StepFacts(loss, since_start), self._epoch, step)
            if not self._exploded and not abs(loss) < float("inf"):
                self._explode("the loss", logits_are_finite=False)

    def _explode(self, what: str, *, logits_are_finite: bool) -> None:
        self._exploded = True
        assert self._images is not None
        found = origin(self._model, self._images, self._autocast(), logits_are_finite=logits_are_finite)
        self._monitor.judge(Explosion(what, found), self._epoch, self._step)


def origin(
    model: nn.Module, images: Tensor, autocast: AbstractContextManager[object], *, logits_are_finite: bool = False
) -> str:
    """One more forward pass over `images`, uint8 [N, 3, h, w], finds the first layer whose output is not a number.

    It leaves the model's buffers and the generators of random numbers as they were. logits_are_finite: whether that is
    known.
    """
    not_finite = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if not_finite:
        return f"{len(not_finite)} weights are not finite, the first of them {_without_wrapper(not_finite[0])}"
    if logits_are_finite:
        return "it arose in the loss: the network's predictions are numbers"
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        return "in which layer is not known: with sync_batch_norm no process can compute alone"
    found: list[str] = []
    hooks = [
        module.register_forward_hook(functools.partial(_look, found, _without_wrapper(name)))
        for name, module in model.named_modules()
        if name and not any(True for _ in module.children())
    ]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [images.device] if images.device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices), autocast:
            torch.func.functional_call(model, buffers, (images,))
    finally:
        for hook in hooks:
            hook.remove()
    return f"it arose in {found[0]}" if found else "every layer's output is a number when it is computed once more"


def _look(found: list[str], name: str, module: nn.Module, inputs: object, output: object) -> None:
    if not found and isinstance(output, Tensor) and not torch.isfinite(output).all():
        found.append(f"{name} ({type(module).__name__}): the first layer whose output is not finite")


def _without_wrapper(name: str) -> str:
    """Without the prefix of the module that normalises the images."""
    return name.removeprefix("net.")
