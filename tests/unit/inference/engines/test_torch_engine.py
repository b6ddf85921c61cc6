"""The PyTorch engine as a server uses it: half precision that is compared, weights cast once, recorded passes.

On a CPU `record` stands in for CUDA graphs: what it records reads and writes fixed memory as they do.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny_models
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from byoc_vision.inference.engines.cuda_graphs import Forward, GraphedForward, Recording
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.precision import Precision
from byoc_vision.preprocess import Preprocess

CPU = torch.device("cpu")
RULE = Preprocess(height=32, width=32)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def engine_in(dtype: torch.dtype, net: nn.Module | None = None) -> TorchEngine:
    config = tiny_models.classification_card(RULE)
    return TorchEngine((net or tiny_models.network(config)).eval(), config, CPU, Precision(dtype, "cpu"))


class Overflowing(nn.Module):
    """A network whose activations are larger than float16's largest number; as trained networks' may be."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 3)
        with torch.no_grad():
            self.first.weight.mul_(factor)
            self.last.weight.div_(factor)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.last(self.first(images).square().mean((2, 3)).sqrt())
        return logits


def test_float16_that_overflows_is_not_served(caplog: pytest.LogCaptureFixture) -> None:
    """Its mask would be all background."""
    torch.manual_seed(0)
    net = Overflowing(1e5)
    expected = engine_in(torch.float32, net).run(IMAGES)
    engine = engine_in(torch.float16, net)
    assert not np.isfinite(engine.run(IMAGES)).all()
    with caplog.at_level(logging.WARNING):
        engine.settle_precision(IMAGES)
    assert engine.name == "torch float32"
    assert "float16 is not used: its logits are not finite numbers" in caplog.text
    np.testing.assert_array_equal(engine.run(IMAGES), expected)


def test_a_precision_that_rounds_too_much_is_not_served(caplog: pytest.LogCaptureFixture) -> None:
    class Differences(nn.Module):
        """Of large numbers, which bfloat16 cannot tell apart."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.layer(images.mean((2, 3)) + 1e4) - self.layer.weight.sum(1) * 1e4
            return logits

    torch.manual_seed(0)
    engine = engine_in(torch.bfloat16, Differences())
    with caplog.at_level(logging.WARNING):
        engine.settle_precision(IMAGES)
    assert engine.name == "torch float32"
    assert "apart from those in float32" in caplog.text


class Casts(TorchDispatchMode):
    """Counts the tensors that are cast."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = operation(*arguments, **(options or {}))
        if isinstance(result, Tensor) and str(operation).startswith(("aten.to.", "aten._to_copy.")):
            self.count += result.dtype != arguments[0].dtype
        return result


def test_weights_are_cast_once_and_the_predictions_stay() -> None:
    engine = engine_in(torch.bfloat16)
    with Casts() as before:
        expected = engine.run(IMAGES)
    layers = [module for module in engine.net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert before.count > len(layers)
    engine.settle_precision(IMAGES)
    assert engine.name == "torch bfloat16"
    with Casts() as after:
        logits = engine.run(IMAGES)
    assert after.count <= 4  # the images, and the logits
    np.testing.assert_array_equal(logits, expected)
    assert {parameter.dtype for parameter in engine.net.parameters()} == {torch.float32}


def test_a_pass_ends_when_the_device_has_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it ended before, the next batch would not gather meanwhile. Tensors without values stand for a GPU's."""
    meta, waits = torch.device("meta"), []

    class Stream:
        def synchronize(self) -> None:
            waits.append(self)

    monkeypatch.setattr(torch.cuda, "current_stream", {meta: Stream()}.__getitem__)
    config = tiny_models.classification_card(RULE)
    engine = TorchEngine(tiny_models.network(config), config, meta, Precision(torch.float32, "cpu"))
    logits = engine.run(IMAGES)
    assert isinstance(logits, Tensor)
    assert tuple(logits.shape) == (len(IMAGES), 3)
    assert len(waits) == 1


class Recorder:
    """Records passes on the CPU; wrong: what their logits are multiplied by."""

    def __init__(self, wrong: float = 1.0) -> None:
        self.wrong = wrong
        self.replayed: list[int] = []

    def __call__(self, forward: Forward, images: Tensor) -> Recording:
        images = images.clone(memory_format=torch.preserve_format)
        logits = torch.empty_like(forward(images))

        def replay() -> None:
            self.replayed.append(len(images))
            logits.copy_(forward(images) * self.wrong)

        return Recording(images, logits, replay)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_recorded_pass_computes_the_same_for_each_number_of_images(count: int) -> None:
    engine, recorder = engine_in(torch.float32), Recorder()
    expected = engine.run(IMAGES[:count])
    engine.record_graphs(IMAGES, recorder)
    recorder.replayed.clear()
    first, second = engine.run(IMAGES[:count]), engine.run(255 - IMAGES[:count])
    assert recorder.replayed == [{3: 4}.get(count, count)] * 2
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-5)  # which the second pass left alone
    assert not np.allclose(first, second)


def test_what_was_not_recorded_is_computed_as_usual() -> None:
    recorder, images = Recorder(), torch.zeros(3, 3, 8, 8)
    graphs = GraphedForward(lambda images: images.sum((1, 2, 3)), recorder)
    graphs.record(images[:1], most=2)
    assert sorted(graphs.sizes) == [1, 2]
    assert graphs(torch.ones(3, 3, 8, 8)).tolist() == [192.0] * 3
    assert graphs(torch.ones(1, 3, 4, 4)).tolist() == [48.0]
    assert not recorder.replayed
    assert graphs(torch.ones(1, 3, 8, 8)).tolist() == [192.0]
    assert recorder.replayed == [1]


def test_recordings_that_compute_something_else_or_fail_are_not_used(caplog: pytest.LogCaptureFixture) -> None:
    def fail(forward: Forward, images: Tensor) -> Recording:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    for record, said in ((Recorder(wrong=2.0), "apart from"), (fail, "not permitted when stream is capturing")):
        caplog.clear()
        engine = engine_in(torch.float32)
        expected = engine.run(IMAGES)
        engine.record_graphs(IMAGES, record)
        assert "no CUDA graphs: " in caplog.text
        assert said in caplog.text
        np.testing.assert_array_equal(engine.run(IMAGES), expected)
