"""Networks as graphs."""

from __future__ import annotations

import numpy as np
import torch
from support.tiny_models import classification_card, network
from torch import nn

from byoc_vision.export.comparison import compare
from byoc_vision.export.program import standalone, trace
from byoc_vision.preprocess import Preprocess


def test_a_standalone_copy_is_contiguous_and_includes_the_normalisation() -> None:
    config = classification_card(Preprocess(height=32, width=32))
    net = network(config).to(memory_format=torch.channels_last).to(torch.bfloat16).train()
    copied = standalone(net, config)
    assert not any(module.training for module in copied.modules())
    assert not any(module.inplace for module in copied.modules() if hasattr(module, "inplace"))
    for parameter in copied.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.is_contiguous()
        assert not parameter.requires_grad
    assert copied(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape == (1, 3)


def test_weights_that_two_layers_share_stay_shared() -> None:
    config = classification_card(Preprocess(height=32, width=32))
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    second.weight = first.weight
    copied = standalone(nn.Sequential(first, second), config)
    one, other = (module.weight for module in copied.modules() if isinstance(module, nn.Conv2d))
    assert one is other
    assert one is not first.weight


def test_a_transformers_positions_are_resized_once() -> None:
    config = classification_card(Preprocess(height=48, width=32), name="test_vit")  # it is made for 160 × 160
    net = network(config)
    program = trace(net, config)
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.linear.default" in called
    assert not [name for name in called if "upsample" in name]
    model = program.module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits: np.ndarray = model(torch.from_numpy(images)).numpy()
        return logits

    assert compare(net, config, run).share < 1e-4
