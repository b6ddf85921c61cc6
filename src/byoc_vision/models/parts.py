"""Finds a network's encoder: the part with pretrained weights, without the head or decoder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from byoc_vision.models.build import LogitsOnly
from byoc_vision.models.classifier import CustomHead
from byoc_vision.models.unet import UNet


@dataclass(frozen=True)
class Encoder:
    """The encoder's parameters that affect the logits, and its batch normalisation layers."""

    parameters: tuple[nn.Parameter, ...]
    batch_norms: tuple[nn.Module, ...]

    def freeze(self, frozen: bool) -> None:
        """Freeze or unfreeze the parameters. The layers' statistics stay fixed only in `eval` mode."""
        for parameter in self.parameters:
            parameter.requires_grad_(not frozen)


def encoder_of(network: nn.Module) -> Encoder | None:
    """The encoder of a network from `build_model`; None if it has no separate encoder (the classic U-Net)."""
    if isinstance(network, UNet):
        return None
    if isinstance(network, CustomHead):
        return _encoder(network.backbone.modules())
    if isinstance(network, LogitsOnly):
        return _encoder(network.net.backbone.modules())  # type: ignore[union-attr]
    if isinstance(encoder := getattr(network, "encoder", None), nn.Module):
        return _encoder(encoder.modules())
    head = set(network.get_classifier().modules())  # type: ignore[operator]
    return _encoder(module for module in network.modules() if module not in head)


def _encoder(modules: Iterable[nn.Module]) -> Encoder:
    listed = list(modules)
    parameters = [parameter for module in listed for parameter in module.parameters(recurse=False)]
    batch_norms = [module for module in listed if isinstance(module, _BatchNorm)]
    trained = [parameter for parameter in dict.fromkeys(parameters) if parameter.requires_grad]
    return Encoder(tuple(trained), tuple(batch_norms))
