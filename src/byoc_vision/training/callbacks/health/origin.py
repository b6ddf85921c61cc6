"""Where the first value arose that is no number."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


def origin(
    model: nn.Module, images: Tensor, autocast: AbstractContextManager[object], *, answered: bool = False
) -> str:
    """One more forward pass over `images`, uint8 [N, 3, h, w], finds the first layer whose output is no number.

    It leaves the model's buffers and the generators of random numbers as they were. answered: whether the logits are
    known to be numbers.
    """
    spoilt = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if spoilt:
        return f"{len(spoilt)} weights are no numbers already, the first of them {_bare(spoilt[0])}"
    if answered:
        return "it arose in the loss: the network's answers are numbers"
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        return "in which layer is not known: with sync_batch_norm no process can compute alone"
    found: list[str] = []
    hooks = [
        module.register_forward_hook(functools.partial(_look, found, _bare(name)))
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


def _bare(name: str) -> str:
    """Without what stands around the network for its normalisation."""
    return name.removeprefix("net.")
