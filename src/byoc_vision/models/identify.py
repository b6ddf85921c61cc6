"""What model a file of weights is of, for the message that says that it is another one's."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from byoc_vision.models.build import build_model
from byoc_vision.models.names import classifier_name, encoder_name
from byoc_vision.models.weights import Weights, fit
from byoc_vision.types import ModelSpec

_COMMON_CLASSIFIERS = ("resnet18", "resnet34", "resnet50", "resnet101", "mobilenetv2_100", "efficientnet_b0")
_COMMON_ENCODERS = ("mobilenet_v2",)


def looks_like(weights: Weights) -> str:
    """`; it looks like …` where the file's name or a common model tells whose weights it holds, else nothing."""
    for spec in _suspects(weights.source):
        with torch.device("meta" if spec.task == "classification" else "cpu"):
            network = build_model(spec)
        if fit(network, weights).is_whole:
            what = f"encoder={spec.encoder}" if spec.encoder else f"model={spec.architecture}"
            return f"; it looks like the weights of {what}"
    return ""


def _suspects(source: str) -> Iterator[ModelSpec]:
    """What the file's name says, then the models most in use."""
    stem = source.removesuffix(".safetensors")
    named = dict.fromkeys([stem, stem.partition(".")[0]])
    classifiers = [classifier_name(name) for name in named]
    encoders = [encoder_name(name) for name in named]
    for name in dict.fromkeys([*classifiers, *_COMMON_CLASSIFIERS]):
        if name is not None:
            yield ModelSpec(task="classification", architecture=name, outputs=1)
    for name in dict.fromkeys([*encoders, *_COMMON_ENCODERS]):
        if name is not None and not name.startswith("tu-"):
            yield ModelSpec(task="segmentation", architecture="unet", encoder=name, outputs=1)
