"""Traces a trained network as one graph with its weights: the source of all formats."""

from __future__ import annotations

import copy
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from byoc_vision.artifact import ModelConfig
from byoc_vision.models.normalized import Normalized

_TRACED_BATCH = 2  # a batch of one would become a constant in the graph
_STRETCH = torch.ops.aten._upsample_bicubic2d_aa.vec


class FromDecoded(nn.Module):
    """A network that accepts decoded images: uint8 RGB [N, h, w, 3] to logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images.permute(0, 3, 1, 2))
        return logits


def standalone(net: nn.Module, config: ModelConfig) -> nn.Module:
    """A copy of `net` for inference, on the CPU in float32, that includes the normalisation.

    Input: images [N, 3, h, w], uint8 or float in 0–255. Output: logits. `net` does not change; it may be in training
    mode or on a GPU.
    """
    kept = {id(tensor): _detached(tensor) for tensor in [*net.parameters(), *net.buffers()]}
    model = Normalized(copy.deepcopy(net, kept), config.preprocess.mean, config.preprocess.std).float().eval()
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            # It saves no memory in a graph, and in-place ReLU6 doubles the time to convert a MobileNet.
            setattr(module, "inplace", False)  # noqa: B010 - nn.Module declares its attributes as tensors and modules
    return model


def trace(net: nn.Module, config: ModelConfig) -> ExportedProgram:
    """The graph of a `standalone` copy of `net`.

    Input: `images`, uint8 RGB [N, h, w, 3] of the model's size, for any N. Output: logits, float32 [N, K] or
    [N, K, h, w].
    """
    program = _export(FromDecoded(standalone(net, config)), config)
    if any(node.target is _STRETCH for node in program.graph.nodes):
        with torch.no_grad():
            program = _export(_with_fixed_positions(program), config)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it would write this machine's paths into the files
    return program


def _export(model: nn.Module, config: ModelConfig) -> ExportedProgram:
    # Black images: only their shape counts.
    images = torch.zeros(
        _TRACED_BATCH, config.preprocess.height, config.preprocess.width, config.preprocess.channels, dtype=torch.uint8
    )
    with torch.no_grad():
        return torch.export.export(model, (images,), dynamic_shapes=({0: Dim("batch")},))


def _with_fixed_positions(program: ExportedProgram) -> nn.Module:
    """The graph with position embeddings that are resized once.

    Transformers resize them to the images' size for every batch, with a filter that OpenVINO does not support.
    """
    model = program.module(check_guards=False)
    assert isinstance(model, GraphModule)
    known: dict[Node, Any] = {}  # values that depend only on weights
    for node in model.graph.nodes:
        if node.op == "get_attr":
            known[node] = attrgetter(node.target)(model)
        elif node.op == "call_function" and node.all_input_nodes and known.keys() >= set(node.all_input_nodes):
            args, kwargs = (map_arg(part, known.__getitem__) for part in (node.args, node.kwargs))
            known[node] = node.target(*args, **kwargs)
    for node in [node for node in known if node.target is _STRETCH]:
        model.register_buffer(node.name, known[node])
        with model.graph.inserting_before(node):
            node.replace_all_uses_with(model.graph.get_attr(node.name))
    model.graph.eliminate_dead_code()
    model.recompile()
    return model


def _detached(tensor: Tensor) -> Tensor:
    values = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return nn.Parameter(values, requires_grad=False) if isinstance(tensor, nn.Parameter) else values
