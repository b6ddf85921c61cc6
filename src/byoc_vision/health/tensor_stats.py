"""Statistics of a step's tensors: computed where the tensors are, and fetched in one transfer; and in which steps."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from byoc_vision.health.facts import Activation, Look, Weight

_SAMPLED = 1024  # values of a weight, evenly spread, for how large it is and how it changes
_IMAGES = 8  # of a batch, for what activation layers receive
_STRIDE = 4  # of the pixels, for the mean of the images
_RECTIFIERS = (nn.ReLU, nn.ReLU6)
_ACTIVATIONS = (*_RECTIFIERS, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)

FIRST = 3  # steps that are always looked at: rules need as many looks in a row
SHARE = 0.01  # of a step's time that looks may take, on average
LEAST, MOST = 20, 1000  # steps from one look to the next
_REMEMBERED = 20


class TensorStats:
    """Gathers the statistics of one step of `net`; call its methods in their order, and then `result`.

    seconds_in_forward: what it took of the forward pass itself.
    """

    def __init__(self, net: nn.Module) -> None:
        self.seconds_in_forward = 0.0
        self._weights = {
            name: weight for name, weight in net.named_parameters() if weight.requires_grad and weight.ndim > 1
        }
        self._before = _sampled(self._weights.values())
        self._names: list[str] = []
        self._rectify: list[bool] = []
        self._stds: list[Tensor] = []
        self._dead: list[Tensor] = []
        self._images: tuple[Tensor, Tensor] | None = None
        self._gradients: Sequence[Tensor] = ()
        self._hooks = [
            module.register_forward_pre_hook(functools.partial(self._see, name))
            for name, module in net.named_modules()
            if isinstance(module, _ACTIVATIONS)
        ]

    def images(self, images: Tensor) -> None:
        """uint8 [N, 3, h, w]"""
        seen = images[:, :, ::_STRIDE, ::_STRIDE].float()
        self._images = seen.mean((0, 2, 3)), seen.std((0, 2, 3))

    def forward_ends(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def gradients(self) -> None:
        """They are computed."""
        present = [_gradient(weight) for weight in self._weights.values()]
        self._gradients = torch._foreach_norm(present, 1) if present else ()

    def result(
        self,
        loss: Tensor,
        *,
        first_loss: float | None,
        moved: bool,
        untrained: bool,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> Look:
        """The step has ended. loss: []. mean, std: of the normalisation, in units of 0–1."""
        after = _sampled(self._weights.values())
        assert self._images is not None
        pieces = [
            _stacked(self._gradients, after),
            _norms(self._before, self._weights.values()),
            _norms(after - self._before, self._weights.values()),
            _stacked(self._stds, after),
            *self._images,
            loss.detach().reshape(1),
            *(dead.float() for dead in self._dead),
        ]
        values = torch.cat([piece.float() for piece in pieces]).tolist()  # the one place that waits for the device
        parts = iter(_split(values, [*(len(piece) for piece in pieces)]))
        gradients, norms, changes, stds, means, spreads, (seen_loss,) = (next(parts) for _ in range(7))
        weights = {
            name: Weight(gradient / weight.numel(), norm, change)
            for (name, weight), gradient, norm, change in zip(
                self._weights.items(), gradients, norms, changes, strict=True
            )
        }
        activations = {
            name: Activation(std, tuple(map(bool, dead)), rectifies)
            for name, std, dead, rectifies in zip(self._names, stds, parts, self._rectify, strict=True)
        }
        return Look(
            loss=seen_loss,
            first_loss=seen_loss if first_loss is None else first_loss,
            moved=moved,
            untrained=untrained,
            weights=weights,
            activations=activations,
            mean=tuple((one / 255 - middle) / spread for one, middle, spread in zip(means, mean, std, strict=True)),
            std=tuple(one / 255 / spread for one, spread in zip(spreads, std, strict=True)),
        )

    def _see(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        started = time.perf_counter()
        self._note(name, module, inputs[0])
        self.seconds_in_forward += time.perf_counter() - started

    def _note(self, name: str, module: nn.Module, received: Tensor) -> None:
        values = received.detach()[:_IMAGES]
        if values.numel() < 2:
            return
        uses = sum(seen.partition(" (")[0] == name for seen in self._names)
        self._names.append(f"{name} (use {uses + 1})" if uses else name)
        self._stds.append(values.float().std())
        # A channel of one value an image (squeeze and excitation) may well be the same for all images.
        rectifies = isinstance(module, _RECTIFIERS) and (values.ndim == 2 or values[0, 0].numel() > 1)
        self._rectify.append(rectifies)
        apart = tuple(axis for axis in range(values.ndim) if axis != 1)
        self._dead.append(values.amax(apart) <= 0 if rectifies else values.new_zeros(0))


def _gradient(weight: nn.Parameter) -> Tensor:
    """Zero for a weight without a gradient."""
    return weight.detach().new_zeros(1) if weight.grad is None else weight.grad


def _sampled(weights: Iterable[nn.Parameter]) -> Tensor:
    """Some values of each weight, one after the other, float32 [total]; a copy."""
    parts = [_spread(weight.detach()).float() for weight in weights]
    return torch.cat(parts) if parts else torch.zeros(0)


def _spread(weight: Tensor) -> Tensor:
    """At most _SAMPLED values, evenly spread over the memory that the weight fills without gaps."""
    count = min(_SAMPLED, weight.numel())
    return weight.as_strided((count,), (weight.numel() // count,), weight.storage_offset())


def _norms(values: Tensor, weights: Iterable[nn.Parameter]) -> Tensor:
    """The norm of each weight's part of `values`, which `_sampled` made."""
    sizes = [min(_SAMPLED, weight.numel()) for weight in weights]
    return _stacked(torch._foreach_norm(list(torch.split(values, sizes))) if sizes else (), values)


def _stacked(values: Sequence[Tensor], like: Tensor) -> Tensor:
    """Numbers [] as one tensor [n]; n may be 0."""
    return torch.stack(list(values)) if values else like.new_zeros(0)


def _split(values: list[float], sizes: Sequence[int]) -> list[list[float]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(values[start : start + size])
        start += size
    return parts


class Pace:
    """Which steps are looked at: the first few, and then so few that looks cost next to nothing.

    Report what each step took, and what its look took.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._next = 1  # the number of the next step to be looked at
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)  # of steps, without their looks
        self._costs: deque[float] = deque(maxlen=FIRST)

    @property
    def is_first(self) -> bool:
        """Whether no step has ended yet."""
        return not self._steps

    @property
    def is_due(self) -> bool:
        """Whether the current step is looked at."""
        return self._steps + 1 >= self._next

    def step_ended(self, seconds: float | None, look_seconds: float) -> None:
        """seconds: of the whole step, if known. look_seconds: within it; 0 if it was not looked at."""
        looked = self.is_due
        if seconds is not None:
            self._seconds.append(max(0.0, seconds - look_seconds))
        if looked:
            self._costs.append(look_seconds)
        self._steps += 1
        if looked:
            self._next = self._steps + (1 if self._steps < FIRST else self.interval)

    @property
    def interval(self) -> int:
        """Steps from one look to the next."""
        usual = statistics.median(self._seconds) if self._seconds else 0.0
        if not usual or not self._costs:
            return LEAST
        return max(LEAST, min(MOST, math.ceil(min(self._costs) / (SHARE * usual))))
