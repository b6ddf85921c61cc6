"""Where the first value arose that is not a number (NaN or infinite)."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


def origin(
    model: nn.Module, images: Tensor, autocast: AbstractContextManager[object], *, logits_are_finite: bool = False
) -> str:
    """One more forward pass over `images`, uint8 [N, 3, h, w], finds the first layer whose output is not a number.

    It leaves the model's buffers and the generators of random numbers as they were. logits_are_finite: whether that is
    known.
    """
    not_finite = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if not_finite:
        return f"{len(not_finite)} weights are no longer numbers, the first of them {_without_wrapper(not_finite[0])}"
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
        found.append(f"{name} ({type(module).__name__}): the first layer whose output is no number")


def _without_wrapper(name: str) -> str:
    """Without the prefix of the module that normalises the images."""
    return name.removeprefix("net.")
