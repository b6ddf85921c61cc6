"""Networks converted to OpenVINO, and what the conversion does not change."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support.tiny_models import classification_card, network
from torch import Tensor, nn

from byoc_vision.export.comparison import compare
from byoc_vision.export.conversion import ConversionError
from byoc_vision.export.openvino import to_openvino
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.quiet_openvino import import_openvino

CARD = classification_card(Preprocess(height=32, width=48, mean=(0.1, 0.5, 0.9), std=(0.5, 0.2, 0.3)))


class Everything(NamedTuple):
    """What a conversion could change by mistake."""

    modes: list[bool]
    in_place: list[bool]
    learning: list[bool]
    strides: list[tuple[int, ...]]
    weights: list[Tensor]
    random: tuple[bytes, list[int], object]
    logging: tuple[int, list[logging.Handler]]

    @classmethod
    def now(cls, net: nn.Module) -> Everything:
        tensors = list(net.state_dict().values())
        return cls(
            [module.training for module in net.modules()],
            [module.inplace for module in net.modules() if hasattr(module, "inplace")],
            [parameter.requires_grad for parameter in net.parameters()],
            [tensor.stride() for tensor in tensors],
            [tensor.clone() for tensor in tensors],
            (torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tolist(), random.getstate()),
            (logging.getLogger().level, list(logging.getLogger().handlers)),
        )


class Converted(NamedTuple):
    """A network in training mode, converted, with its state before and after."""

    net: nn.Module
    model: Any
    before: Everything
    after: Everything


@pytest.fixture(scope="module")
def converted() -> Converted:
    net = network(CARD).to(memory_format=torch.channels_last).train()
    before = Everything.now(net)
    return Converted(net, to_openvino(net, CARD), before, Everything.now(net))


def test_it_maps_any_number_of_decoded_images_to_logits(converted: Converted) -> None:
    model = converted.model
    assert (model.input(0).any_name, model.output(0).any_name) == ("pictures", "logits")
    assert str(model.input(0).partial_shape) == "[?,32,48,3]"
    assert str(model.output(0).partial_shape) == "[?,3]"
    assert model.input(0).element_type.to_dtype() == np.uint8
    assert model.output(0).element_type.to_dtype() == np.float32


def test_further_training_does_not_change_the_converted_model(converted: Converted) -> None:
    net = network(CARD)
    with torch.no_grad():
        for parameter in converted.net.parameters():
            parameter.zero_()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = import_openvino().compile_model(converted.model, "CPU", options)
    assert compare(net, CARD, lambda images: np.array(compiled(images)[0])).share < 1e-4


def test_the_conversion_does_not_change_a_network_in_training(converted: Converted) -> None:
    before, after = converted.before, converted.after
    assert all(before.modes)
    assert any(before.in_place)
    assert before._replace(weights=[]) == after._replace(weights=[])
    assert all(torch.equal(one, other) for one, other in zip(before.weights, after.weights, strict=True))


class Strange(nn.Module):
    """Branches on the values of its input, which a graph cannot represent."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.sum().item() > 0 else x.amax((2, 3))


def test_the_error_for_a_failed_conversion_names_the_other_formats() -> None:
    with pytest.raises(ConversionError, match=r"model=test_resnet .* openvino \(.+\); use another: onnx, torchscript"):
        to_openvino(Strange(), CARD)


TELEMETRY = """
from pathlib import Path
Path({trace!r}).touch()
class Telemetry:
    def __init__(self, **options): self.backend = type("Backend", (), {{"app_name": options["app_name"]}})
    def send_event(self, *event): pass
"""


@pytest.mark.parametrize(
    ("program", "sends"),
    [
        ("import openvino", True),
        ("from byoc_vision.system.quiet_openvino import import_openvino; import_openvino().convert_model", False),
    ],
    ids=["plain", "quiet"],
)
def test_its_telemetry_is_never_loaded(tmp_path: Path, program: str, sends: bool) -> None:
    package = tmp_path / "openvino_telemetry"
    (package / "backend").mkdir(parents=True)
    trace = tmp_path / "sent"
    (package / "__init__.py").write_text(TELEMETRY.format(trace=str(trace)))
    (package / "backend" / "__init__.py").touch()
    (package / "backend" / "backend_ga4.py").touch()
    found_first = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    subprocess.run([sys.executable, "-c", found_first + program], check=True, timeout=60)
    assert trace.exists() == sends
