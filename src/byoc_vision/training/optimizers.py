"""Optimisers by name, and the learning rate over the steps of a training."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.models.parts import Encoder, layers_of
from byoc_vision.training.batch_layout import Length

logger = logging.getLogger(__name__)

OPTIMIZERS = ("adamw", "adam", "sgd", "nag", "rmsprop", "adagrad")
SCHEDULES = ("cosine", "poly", "step", "one_cycle", "constant")

_POLY_POWER = 0.9  # Chen et al., "DeepLab", 2017
_ONE_CYCLE_RISE = 0.3  # the share of the steps that rise, and the divisors, as torch's OneCycleLR has them
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = 1 / 250_000

Curve = Callable[[float], float]


def optimizer_for(
    net: nn.Module,
    encoder: Encoder | None,
    hyperparameters: Hyperparameters,
    learning_rate: float,
    *,
    scaled: bool = False,
) -> Optimizer:
    """A job's optimiser. scaled: whether the gradients are, in float16; see `build_optimizer`."""
    return build_optimizer(
        hyperparameters.optimizer,
        net,
        learning_rate,
        momentum=hyperparameters.momentum,
        weight_decay=hyperparameters.weight_decay,
        betas=(hyperparameters.beta_1, hyperparameters.beta_2),
        eps=hyperparameters.epsilon,
        alpha=hyperparameters.rmsprop_alpha,
        encoder=encoder.parameters if encoder else (),
        encoder_lr_factor=hyperparameters.encoder_lr_factor,
        layer_factors=layer_factors(net, hyperparameters.layer_decay),
        scaled=scaled,
    )


def layer_factors(net: nn.Module, decay: float) -> dict[int, float]:
    """The share of the learning rate of each parameter, by its id; empty if all learn alike.

    The head learns at the whole rate, and each layer before at `decay` times the rate of the one after: Clark et al.,
    "ELECTRA", 2020; for images Bao et al., "BEiT", 2022.

    Raises InputError if the network does not tell its layers.
    """
    if decay == 1:
        return {}
    layers = layers_of(net)
    if layers is None:
        raise InputError(
            "layer_decay is for timm's classifiers, which tell their layers; for other networks leave it out and set "
            "encoder_lr_factor"
        )
    top = max(layers.values())
    return {parameter: decay ** (top - depth) for parameter, depth in layers.items()}


def schedule_for(optimizer: Optimizer, length: Length, hyperparameters: Hyperparameters) -> LambdaLR:
    """A schedule that ends with the training, whose last pass may be cut short."""
    return build_schedule(
        hyperparameters.lr_scheduler,
        optimizer,
        total_steps=length.planned,
        steps_per_epoch=length.steps_per_epoch,
        place=length.place_of,
        warmup_epochs=hyperparameters.warmup_epochs,
        step_epochs=hyperparameters.lr_scheduler_step,
        factor=hyperparameters.lr_scheduler_factor,
    )


def highest_learning_rate(hyperparameters: Hyperparameters, processes: int) -> float:
    """With `scale_learning_rate` in proportion to the images of a step: Goyal et al., "Accurate, Large Minibatch
    SGD", 2017, section 2.1.
    """
    if not hyperparameters.scale_learning_rate:
        return hyperparameters.learning_rate
    factor = processes * hyperparameters.accumulate_steps
    logger.info("learning_rate: %g, as %d batches make a step", hyperparameters.learning_rate * factor, factor)
    return hyperparameters.learning_rate * factor


def build_optimizer(
    name: str,
    model: nn.Module,
    learning_rate: float,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    alpha: float = 0.9,
    encoder: Collection[nn.Parameter] = (),
    encoder_lr_factor: float = 1.0,
    layer_factors: Mapping[int, float] | None = None,
    scaled: bool = False,
) -> Optimizer:
    """The optimiser of a name for the trained parameters of a model.

    The parameters of `encoder` learn at `encoder_lr_factor` times the learning rate; the first group is of the others.
    With `layer_factors` each parameter learns at its share of the learning rate; the first group at all of it.

    `momentum` is for sgd, nag (SGD with Nesterov's momentum) and rmsprop; `betas` for adam and adamw; `alpha` is
    rmsprop's smoothing; `eps` for all but SGD. Fused kernels are used if torch has them, but not if gradients are
    `scaled` (float16): a fused SGD that skips its first step keeps averages that were never written, and the next
    step makes NaN of them. Raises InputError for another name.
    """
    kernels = {"foreach": True} if scaled else {"fused": True}
    if layer_factors:
        groups = layer_groups(model, weight_decay, learning_rate, layer_factors)
    else:
        groups = parameter_groups(model, weight_decay, encoder, encoder_lr_factor * learning_rate)
    match name:
        case "adamw":
            return torch.optim.AdamW(groups, learning_rate, betas=betas, eps=eps, **kernels)
        case "adam":
            return torch.optim.Adam(groups, learning_rate, betas=betas, eps=eps, **kernels)
        case "sgd":
            return torch.optim.SGD(groups, learning_rate, momentum=momentum, **kernels)
        case "nag":
            return torch.optim.SGD(groups, learning_rate, momentum=momentum, nesterov=True, **kernels)
        case "rmsprop":
            return torch.optim.RMSprop(groups, learning_rate, alpha=alpha, eps=eps, momentum=momentum, foreach=True)
        case "adagrad":
            return torch.optim.Adagrad(groups, learning_rate, eps=eps, foreach=True)
    raise InputError(f"optimizer={name} is not known; take one of {', '.join(OPTIMIZERS)}")


def parameter_groups(
    model: nn.Module, weight_decay: float, encoder: Collection[nn.Parameter] = (), encoder_rate: float = 0.0
) -> list[dict[str, Any]]:
    """The trained parameters: matrices and kernels, which decay, and biases and normalisation, which do not.

    He et al., "Bag of Tricks for Image Classification", 2019, section 3.1. If `encoder` is given, its parameters
    follow in two groups of their own with the learning rate `encoder_rate`.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    apart = {id(parameter) for parameter in encoder}
    groups = _by_decay([parameter for parameter in trained if id(parameter) not in apart], weight_decay)
    if apart:
        of_encoder = _by_decay([parameter for parameter in trained if id(parameter) in apart], weight_decay)
        groups += [group | {"lr": encoder_rate} for group in of_encoder]
    return groups


def layer_groups(
    model: nn.Module, weight_decay: float, learning_rate: float, factors: Mapping[int, float]
) -> list[dict[str, Any]]:
    """The trained parameters in two groups of each share of the learning rate, as in `parameter_groups`."""
    by_factor: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            by_factor.setdefault(factors[id(parameter)], []).append(parameter)
    return [
        group | {"lr": learning_rate * factor}
        for factor in sorted(by_factor, reverse=True)
        for group in _by_decay(by_factor[factor], weight_decay)
    ]


def _by_decay(parameters: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def build_schedule(
    name: str,
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0.0,
    step_epochs: Sequence[int] = (),
    factor: float = 0.1,
    place: Callable[[int], float] = float,
) -> LambdaLR:
    """A schedule to be stepped after each optimiser step, and resumed by its state dict.

    See `schedule_factor` for the curves. place: where on its curve a step is. Raises InputError for another name.
    """
    warmup_steps = min(round(warmup_epochs * steps_per_epoch), total_steps)
    milestones = [epoch * steps_per_epoch for epoch in step_epochs]
    curve = schedule_factor(name, total_steps, warmup_steps, milestones, factor)
    return LambdaLR(optimizer, lambda step: curve(place(step)))


def schedule_factor(
    name: str, total_steps: int, warmup_steps: int = 0, milestones: Sequence[int] = (), factor: float = 0.1
) -> Curve:
    """The share of the highest learning rate that each step, counted from 0, is made with.

    The first `warmup_steps` rise linearly, and the last of them has it all. After them:
    cosine: half a cosine down to 0 (Loshchilov and Hutter, 2017).
    poly: (1 - progress) ** 0.9 (Chen et al., 2017).
    step: times `factor` at each of `milestones`, in steps from the start of the training.
    one_cycle: up from 1/25 along half a cosine over 30 % of the steps, or over the warm-up if there is one, and down
    to next to nothing (Smith and Topin, 2018).
    constant: as it is.
    """
    if name == "one_cycle":
        return _one_cycle(total_steps, warmup_steps or round(_ONE_CYCLE_RISE * total_steps))

    def progress(step: float) -> float:
        return min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))

    curves: dict[str, Curve] = {
        "cosine": lambda step: (1 + math.cos(math.pi * progress(step))) / 2,
        "poly": lambda step: (1 - progress(step)) ** _POLY_POWER,
        "step": lambda step: factor ** sum(step >= milestone for milestone in milestones),
        "constant": lambda step: 1.0,
    }
    if name not in curves:
        raise InputError(f"lr_scheduler={name} is not known; take one of {', '.join(SCHEDULES)}")
    curve = curves[name]
    return lambda step: (step + 1) / warmup_steps if step < warmup_steps else curve(step)


def _one_cycle(total_steps: int, rise: int) -> Curve:
    def share(step: float) -> float:
        if step < rise:
            return _half_cosine(_ONE_CYCLE_START, 1.0, step / rise)
        return _half_cosine(1.0, _ONE_CYCLE_END, min(1.0, (step - rise) / max(1, total_steps - rise)))

    return share


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
