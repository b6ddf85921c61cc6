"""What a training is made of between two steps, taken out of its objects and put back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def optimizer_state(optimizer: Optimizer, net: nn.Module) -> dict[str, dict[str, Any]]:
    """What the optimiser remembers of each parameter, by the parameter's name: groups may differ when it is resumed."""
    names = _names(net)
    return {names[id(parameter)]: dict(state) for parameter, state in optimizer.state.items() if state}


def set_optimizer_state(optimizer: Optimizer, net: nn.Module, saved: dict[str, dict[str, Any]]) -> None:
    """Give the optimiser what `optimizer_state` took. Its settings, such as the weight decay, stay its own."""
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
