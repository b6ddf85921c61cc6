"""Classifiers: timm's by name, with the head that the job asks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn


class CustomHead(nn.Module):
    """A timm network without its classifier, and hidden layers in its place.

    (Linear, ReLU, Dropout) for each of `hidden_units`, then the linear layer that gives the logits.
    """

    def __init__(self, backbone: nn.Module, hidden_units: Sequence[int], outputs: int, dropout: float) -> None:
        super().__init__()
        # What reaches the head is not always `num_features`: MobileNetV3 and its like widen once more after pooling.
        features = cast(int, backbone.head_hidden_size)
        self.backbone = backbone
        layers: list[nn.Module] = []
        for inputs, units in pairwise([features, *hidden_units]):
            layers += [nn.Linear(inputs, units), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(hidden_units[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] to logits [N, outputs]."""
        logits: Tensor = self.head(self.backbone(x))
        return logits


def build_classifier(name: str, outputs: int, hidden_units: Sequence[int] = (), dropout: float = 0.0) -> nn.Module:
    """timm's network `name` with random weights, and as its head one linear layer behind dropout, or hidden layers."""
    if not hidden_units:
        network = create_timm(name, num_classes=outputs, drop_rate=dropout or None)
        _begin_unsure(network)
        return network
    return CustomHead(create_timm(name, num_classes=0), hidden_units, outputs, dropout)


def _begin_unsure(network: nn.Module) -> None:
    """Draw the last layer's weights small, so that every class begins about equally likely.

    Some of timm's networks draw them large for few classes: a loss that begins at twice the logarithm of the number of
    classes, and gradients that spoil pretrained features in the first steps.
    """
    head = network.get_classifier()  # type: ignore[operator]
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.01)
        if head.bias is not None:
            nn.init.zeros_(head.bias)


def create_timm(name: str, **options: Any) -> nn.Module:
    """`timm.create_model`, with positions that stretch to images of any size where the network can."""
    import timm

    if stretches_positions(name):
        options["dynamic_img_size"] = True
    network: nn.Module = timm.create_model(name, **options)
    return network


@cache
def stretches_positions(name: str) -> bool:
    """Whether a timm network made for one image size can be told to take others."""
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.fixed_input_size:
        return False
    try:
        with torch.device("meta"):
            timm.create_model(name, dynamic_img_size=True)
    except TypeError as error:
        # timm keeps no list of the networks that know this option.
        if "dynamic_img_size" not in str(error):
            raise
        return False
    return True


def patch_size(name: str) -> int:
    """The side of a timm network's patches in pixels; 1 where it has none, as convolutional networks."""
    if not stretches_positions(name):
        return 1
    with torch.device("meta"):
        embedding: Any = create_timm(name).patch_embed
    return int(embedding.feat_ratio(as_scalar=True))


def classifier_keys(network: nn.Module) -> tuple[str, ...]:
    """The prefixes of the classifier's weights in a timm network; none where it was made without one."""
    config = getattr(network, "pretrained_cfg", None) or {}
    names = config.get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
