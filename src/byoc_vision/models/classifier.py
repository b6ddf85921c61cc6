"""Classifiers: timm's networks by name, with the head that the job configures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn


class CustomHead(nn.Module):
    """A timm network whose classifier is replaced by hidden layers.

    The head is (Linear, ReLU, Dropout) for each of `hidden_units`, then the linear layer that computes the logits.
    """

    def __init__(self, backbone: nn.Module, hidden_units: Sequence[int], outputs: int, dropout: float) -> None:
        super().__init__()
        # The head's input is not always `num_features`: MobileNetV3 and similar networks widen again after pooling.
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


def build_classifier(
    name: str, outputs: int, hidden_units: Sequence[int] = (), dropout: float | None = None, channels: int = 3
) -> nn.Module:
    """timm's network `name` with random weights. Its head is dropout and one linear layer, or hidden layers.

    dropout: the probability in the head. None: the network's own, and none in hidden layers. If it is given, hidden
    layers have it in place of the network's own.
    """
    more = {} if channels == 3 else {"in_chans": channels}
    if not hidden_units:
        network = create_timm(name, num_classes=outputs, drop_rate=dropout, **more)
        _initialise_head(network)
        return network
    backbone = create_timm(name, num_classes=0, drop_rate=None if dropout is None else 0.0, **more)
    return CustomHead(backbone, hidden_units, outputs, dropout or 0.0)


def _initialise_head(network: nn.Module) -> None:
    """Initialise the last layer with small weights, so that all classes start about equally likely.

    Some timm networks use large weights if there are few classes: then the loss starts at twice the logarithm of the
    number of classes, and the first steps' gradients damage pretrained features.
    """
    head = network.get_classifier()  # type: ignore[operator]
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.01)
        if head.bias is not None:
            nn.init.zeros_(head.bias)


def create_timm(name: str, **options: Any) -> nn.Module:
    """`timm.create_model`; position embeddings are resized to the image's size if the network supports it."""
    import timm

    if stretches_positions(name):
        options["dynamic_img_size"] = True
    network: nn.Module = timm.create_model(name, **options)
    return network


@cache
def stretches_positions(name: str) -> bool:
    """Whether a timm network with a fixed image size supports the option `dynamic_img_size`."""
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.fixed_input_size:
        return False
    try:
        with torch.device("meta"):
            timm.create_model(name, dynamic_img_size=True)
    except TypeError as error:
        # timm has no list of the networks that support this option.
        if "dynamic_img_size" not in str(error):
            raise
        return False
    return True


def patch_size(name: str) -> int:
    """The side of a timm network's patches in pixels; 1 if it has no patches, as convolutional networks."""
    if not stretches_positions(name):
        return 1
    with torch.device("meta"):
        embedding: Any = create_timm(name).patch_embed
    return int(embedding.feat_ratio(as_scalar=True))


def classifier_keys(network: nn.Module) -> tuple[str, ...]:
    """The name prefixes of the classifier's weights in a timm network; empty if it was built without a classifier."""
    config = getattr(network, "pretrained_cfg", None) or {}
    names = config.get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
