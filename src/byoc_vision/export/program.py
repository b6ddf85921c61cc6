"""A trained network as a graph with its weights: what each of the formats is made from."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from byoc_vision.artifact import ModelCard
from byoc_vision.models.normalized import Normalized

_EXAMPLES = 2  # the batch that is traced; with one, its size would be taken for a constant


def standalone(net: nn.Module, card: ModelCard) -> nn.Module:
    """A copy of `net` for inference, on the CPU in float32, with the normalisation inside: pictures [N, 3, h, w] in
    0–255, uint8 or float, to logits. `net` stays as it is, and may be in training or on a GPU.
    """
    kept = {id(tensor): _detached(tensor) for tensor in [*net.parameters(), *net.buffers()]}
    model = Normalized(copy.deepcopy(net, kept), card.preprocess.mean, card.preprocess.std).float().eval()
    for module in model.modules():
        if getattr(module, "inplace", False):
            # Nothing is saved by it in a graph, and some (ReLU6) take torch many times longer to take apart.
            module.inplace = False  # type: ignore[assignment]
    return model


def trace(model: nn.Module, card: ModelCard) -> ExportedProgram:
    """The graph of a `standalone` network, for any number of pictures of the card's size, uint8 [N, 3, h, w]."""
    with torch.no_grad():
        return torch.export.export(
            model, (examples(card),), dynamic_shapes={"pictures": {0: Dim("batch")}}, strict=False
        )


def examples(card: ModelCard) -> Tensor:
    """Pictures to trace with, uint8 [2, 3, h, w]: black, since tracing looks at shapes alone."""
    return torch.zeros(_EXAMPLES, 3, card.preprocess.height, card.preprocess.width, dtype=torch.uint8)


def _detached(tensor: Tensor) -> Tensor:
    values = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return nn.Parameter(values, requires_grad=False) if isinstance(tensor, nn.Parameter) else values
