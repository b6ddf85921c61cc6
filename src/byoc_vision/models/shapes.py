"""Runs a network on the meta device (tensors without values): finds output shapes and unused parameters for free."""

from __future__ import annotations

import torch
from torch import Size, Tensor, nn
from torch.func import functional_call

_USUAL_SIDE = 224  # every architecture accepts it, except those with a fixed size


def output_shape(network: nn.Module, height: int, width: int, images: int = 2, channels: int = 3) -> Size:
    """The shape of the logits for so many images of `height` × `width`. Raises whatever the network raises."""
    with torch.no_grad():
        return _run(network, _weightless(network), height, width, images, channels).shape


def freeze_unused(network: nn.Module, channels: int = 3) -> None:
    """Turn off the gradients of the parameters that do not affect the logits. Call it before training.

    For example, PSPNet uses only the first half of its encoder. Otherwise weight decay would shrink the rest, and
    DistributedDataParallel would wait for gradients that never come.
    """
    weightless = _weightless(network)
    logits = _run(network, weightless, *_usual_size(network), channels=channels)
    parameters = dict(network.named_parameters())
    gradients = torch.autograd.grad(logits.sum(), [weightless[name] for name in parameters], allow_unused=True)
    for parameter, gradient in zip(parameters.values(), gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def _run(
    network: nn.Module, weightless: dict[str, Tensor], height: int, width: int, images: int = 2, channels: int = 3
) -> Tensor:
    batch = torch.empty(images, channels, height, width, device="meta")
    logits: Tensor = functional_call(network, weightless, (batch,))
    return logits


def _weightless(network: nn.Module) -> dict[str, Tensor]:
    """The network's parameters and buffers as tensors with the same shapes and without values."""
    tensors = {name: torch.empty_like(buffer, device="meta") for name, buffer in network.named_buffers()}
    for name, parameter in network.named_parameters():
        tensors[name] = torch.empty_like(parameter, device="meta", requires_grad=True)
    return tensors


def _usual_size(network: nn.Module) -> tuple[int, int]:
    for module in network.modules():
        config = getattr(module, "pretrained_cfg", None)
        if config is not None and config.get("fixed_input_size"):
            _, height, width = config["input_size"]
            return height, width
    return _USUAL_SIDE, _USUAL_SIDE
