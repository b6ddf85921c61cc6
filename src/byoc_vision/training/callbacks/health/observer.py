"""Looks on while steps are made, and tells the rules what there is to see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from byoc_vision.training.callbacks.health.arrivals import arrivals
from byoc_vision.training.callbacks.health.facts import Explosion, StepFacts
from byoc_vision.training.callbacks.health.tensor_stats import TensorLook
from byoc_vision.training.callbacks.health.monitor import HealthMonitor
from byoc_vision.training.callbacks.health.origin import origin
from byoc_vision.training.callbacks.health.pace import Pace
from byoc_vision.training.callbacks.base import StepObserver
from byoc_vision.training.callbacks.time_to_first_step import seconds_since_start

_SHOWS = 0.01  # the least share of the highest learning rate at which weights must be seen to move
_ALARMING = 2.0  # times the first loss: from there on each loss is looked at before it does harm


class HealthObserver(StepObserver):
    """Changes nothing of what a step computes. Tell it of each epoch, and of its end.

    model: takes uint8 images, and its gradients are not averaged by it; net: the network within it, whose layers are
    named. mean, std: of its normalisation, in units of 0–1. scaled: whether gradients may overflow in the course of
    things (float16).
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
    ) -> None:
        self.step_seconds: list[float] = []  # of the epoch's steps
        self._monitor = monitor
        self._model, self._net, self._optimizer, self._device = model, net, optimizer, device
        self._autocast = autocast
        self._mean, self._std = mean, std
        self._scaled = scaled
        self._arrivals = arrivals(device)
        self._pace = Pace()
        self._look: TensorLook | None = None
        self._look_seconds = 0.0
        self._began_at: float | None = None  # the step before this one ended
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

    def epoch_begins(self, epoch: int, steps: int = 0) -> None:
        """steps: those of it that are done already."""
        self._epoch, self._step = epoch, steps
        self._resumed = self._resumed or (self._is_first_step and (epoch > 1 or steps > 0))
        self.step_seconds = []
        self._began_at = None
        self._arrivals.restart()

    def epoch_ends(self) -> None:
        """Tell what is still under way."""
        self._tell_steps(all_of_them=True)
        self._images = None

    # As steps are made

    def step_begins(self) -> None:
        self._step += 1
        self._losses = []
        self._look_seconds = 0.0
        with self._looking():
            if self._pace.is_due:
                self._look = TensorLook(self._net)

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        self._images = images
        with self._looking():
            if self._look:
                self._look.images(images)

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        self._losses.append(loss.detach())
        with self._looking():
            if self._look:
                self._look.forward_ends()
                self._look_seconds += self._look.seconds_in_forward
        if not self._exploded and self._is_careful() and not torch.isfinite(loss):
            self._explode("the loss", answered=bool(torch.isfinite(logits).all()))

    def gradients_ready(self, scale: float) -> None:
        with self._looking():
            if self._look:
                self._look.gradients(scale)

    def step_ends(self) -> None:
        loss = self._losses[0] if len(self._losses) == 1 else torch.stack(self._losses).mean()
        with self._looking():
            if self._look:
                self._judge(self._look, loss)
                self._look = None
        self._arrivals.put(self._step, loss)
        self._tell_steps()
        now = time.perf_counter()
        self._pace.step_ended(now - self._began_at if self._began_at else None, self._look_seconds)
        self._began_at = now

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """What is done within counts as the cost of a look."""
        started = time.perf_counter()
        yield
        self._look_seconds += time.perf_counter() - started

    def _judge(self, taken: TensorLook, loss: Tensor) -> None:
        look = taken.result(
            loss,
            first_loss=self._first_loss,
            moved=self._learning_rate_shows(),
            untrained=self._pace.is_first and not self._resumed,
            mean=self._mean,
            std=self._std,
        )
        if self._first_loss is None:
            self._first_loss = look.first_loss
        spoilt = [name for name, weight in look.weights.items() if not weight.gradient < float("inf")]
        if spoilt and not self._scaled and not self._exploded:
            self._exploded = True
            found = Explosion(f"the gradient of {spoilt[-1]}", "the loss is one: it arose on the way back")
            self._monitor.judge(found, self._epoch, self._step)
        if not spoilt:
            self._monitor.judge(look, self._epoch, self._step)

    def _learning_rate_shows(self) -> bool:
        """At the end of a schedule steps are too small to be seen."""
        groups = self._optimizer.param_groups
        return all(group["lr"] >= _SHOWS * group.get("initial_lr", group["lr"]) > 0 for group in groups)

    def _is_careful(self) -> bool:
        """Whether to make the CPU wait for the loss: in a look, and where the loss has begun to run away."""
        running_away = self._first_loss is not None and self._last_loss > _ALARMING * self._first_loss
        return self._device.type == "cpu" or self._look is not None or running_away

    def _tell_steps(self, *, all_of_them: bool = False) -> None:
        for step, loss, seconds in self._arrivals.take(all_of_them=all_of_them):
            self._last_loss = loss
            if seconds is not None:
                self.step_seconds.append(seconds)
            since_start = seconds_since_start() if self._is_first_step else None
            self._is_first_step = False
            self._monitor.judge(StepFacts(loss, seconds, since_start), self._epoch, step)
            if not self._exploded and not abs(loss) < float("inf"):
                self._explode("the loss", answered=False)

    def _explode(self, what: str, *, answered: bool) -> None:
        self._exploded = True
        assert self._images is not None
        found = origin(self._model, self._images, self._autocast(), answered=answered)
        self._monitor.judge(Explosion(what, found), self._epoch, self._step)
