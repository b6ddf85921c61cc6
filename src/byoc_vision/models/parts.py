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


def layers_of(network: nn.Module) -> dict[int, int] | None:
    """The depth of each parameter, by its id: 0 for the first layer; the head is the last one.

    As timm groups them: residual blocks or transformer blocks. None if the network is not a classifier of timm's.
    """
    backbone = network.backbone if isinstance(network, CustomHead) else network
    if not hasattr(backbone, "group_matcher"):
        return None
    from timm.models import group_parameters

    named = dict(backbone.named_parameters())
    matcher = backbone.group_matcher(coarse=False)  # type: ignore[operator]
    depths = {id(named[name]): depth for name, depth in group_parameters(backbone, matcher, reverse=True).items()}
    top = 1 + max(depths.values())
    return {id(parameter): depths.get(id(parameter), top) for parameter in network.parameters()}


def _encoder(modules: Iterable[nn.Module]) -> Encoder:
    listed = list(modules)
    parameters = [parameter for module in listed for parameter in module.parameters(recurse=False)]
    batch_norms = [module for module in listed if isinstance(module, _BatchNorm)]
    trained = [parameter for parameter in dict.fromkeys(parameters) if parameter.requires_grad]
    return Encoder(tuple(trained), tuple(batch_norms))
