"""OpenVINO's format: what CPUs are served with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from byoc_vision.artifact import ModelCard
from byoc_vision.export.program import standalone, trace
from byoc_vision.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino

INPUT, OUTPUT = "pictures", "logits"


def to_openvino(net: nn.Module, card: ModelCard) -> openvino.Model:
    """The network for OpenVINO: `pictures`, uint8 RGB [N, h, w, 3] of the card's size in any number, to `logits`,
    float32 [N, K] or [N, K, h, w]. The weights stay float32.

    `net` stays as it is, and may be in training or on a GPU.
    """
    ov = import_openvino()
    preprocess = card.preprocess
    model: openvino.Model = ov.convert_model(trace(standalone(net, card), card))
    model.reshape([-1, 3, preprocess.height, preprocess.width])
    model.input(0).set_names({INPUT})
    model.output(0).set_names({OUTPUT})
    layout = ov.preprocess.PrePostProcessor(model)
    layout.input().tensor().set_layout(ov.Layout("NHWC"))  # as pictures are decoded
    layout.input().model().set_layout(ov.Layout("NCHW"))
    return layout.build()
