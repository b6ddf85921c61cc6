"""A network as OpenVINO computes it."""

from __future__ import annotations

import copy

import openvino
import torch
from openvino import Layout
from openvino.preprocess import ColorFormat, PrePostProcessor
from torch import nn

from byoc_vision.artifact import ModelCard
from byoc_vision.models.normalized import Normalized


def to_openvino(net: nn.Module, card: ModelCard) -> openvino.Model:
    """`net` behind its normalisation: RGB pictures, uint8 [N, h, w, 3], N of any size, to float32 logits."""
    rule = card.preprocess
    model = Normalized(copy.deepcopy(net).cpu().eval(), rule.mean, rule.std)
    example = torch.zeros(2, 3, rule.height, rule.width, dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    converted = openvino.convert_model(program)
    steps = PrePostProcessor(converted)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(Layout("NHWC")).set_color_format(
        ColorFormat.RGB
    )
    steps.input().model().set_layout(Layout("NCHW"))
    return steps.build()
