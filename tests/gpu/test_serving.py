"""Serving: half precision and its comparison, batches under load, CUDA graphs, weights that are cast once."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support import tiny_models
from torch import nn

from byoc_serve.batch import Batcher
from byoc_vision.artifact import ModelConfig
from byoc_vision.inference.engine_choice import load_engine
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.models.build import build_model
from byoc_vision.precision import Precision, choose_precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

HALVES = [
    pytest.param(torch.bfloat16, id="bfloat16"),
    pytest.param(torch.float16, marks=pytest.mark.gpu, id="float16"),
]


def config_of(spec: ModelSpec, side: int) -> ModelConfig:
    classes = tuple(ClassInfo(name=str(index), value=index) for index in range(max(2, spec.outputs)))
    if spec.task == "classification":
        classes = tuple(ClassInfo(name=entry.name) for entry in classes)
    activation = "sigmoid" if spec.outputs == 1 else "softmax"
    return ModelConfig(
        model=spec, classes=classes, activation=activation, preprocess=Preprocess(height=side, width=side)
    )


def engine_of(spec: ModelSpec, side: int, device: torch.device, dtype: torch.dtype) -> TorchEngine:
    config = config_of(spec, side)
    return TorchEngine(tiny_models.network(config), config, device, Precision(dtype, device.type))


def images_of(side: int, count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def on_cpu(logits: Logits) -> np.ndarray:
    return logits if isinstance(logits, np.ndarray) else logits.cpu().numpy()


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """As a share of the expected logits' norm."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


SPECS = [
    ModelSpec(task="classification", architecture="resnet18", outputs=5),
    ModelSpec(task="segmentation", architecture="unet", encoder="mobilenet_v2", outputs=3),
]


SHALLOW = ModelSpec(task="segmentation", architecture="unet_small", outputs=1)  # random weights amplify rounding


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("spec", [SPECS[0], SHALLOW], ids=lambda spec: spec.architecture)
def test_half_precision_predicts_what_float32_does(
    spec: ModelSpec, dtype: torch.dtype, device: torch.device, say: Callable[[str], None]
) -> None:
    images = images_of(64)
    expected = on_cpu(engine_of(spec, 64, device, torch.float32).run(images))
    engine = engine_of(spec, 64, device, dtype)
    cast_each_time = on_cpu(engine.run(images))
    engine.settle_precision(images)
    found = on_cpu(engine.run(images))
    say(f"{apart(found, expected):.4f} from float32, {apart(found, cast_each_time):.2g} from weights cast each time")
    assert engine.precision.dtype == dtype
    assert apart(found, cast_each_time) < 1e-2


def test_a_loaded_model_computes_in_the_precision_of_its_device(
    tmp_path: Path, device: torch.device, say: Callable[[str], None]
) -> None:
    config = config_of(SPECS[0], 64)
    tiny_models.save(tmp_path, config, tiny_models.network(config))
    engine = load_engine(tmp_path, config, str(device), "torch")
    say(engine.name)
    assert engine.name == f"torch {choose_precision('auto', device).name}"


@pytest.mark.gpu
def test_float16_that_overflows_is_not_served(device: torch.device) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(1), nn.LazyLinear(3)).eval()
    with torch.no_grad():
        net(torch.zeros(1, 3, 64, 64))
        net[0].weight.mul_(1e6)
    engine = TorchEngine(net, config_of(SPECS[0], 64), device, Precision(torch.float16, "cuda"))
    engine.settle_precision(images_of(64))
    assert engine.name == "torch float32"


def seconds(run: Callable[[], object], times: int = 30) -> float:
    """The median of a call, in seconds."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


@pytest.mark.gpu
def test_run_returns_when_it_has_computed(device: torch.device, say: Callable[[str], None]) -> None:
    """Otherwise nothing gathers while the GPU is busy, and batches stay small under load."""
    spec = ModelSpec(task="segmentation", architecture="unet", encoder="resnet34", outputs=1)
    engine, images = engine_of(spec, 512, device, choose_precision("auto", device).dtype), images_of(512)
    for _ in range(3):
        engine.run(images)
    engine.run(images)
    started = time.perf_counter()
    torch.cuda.synchronize()
    left = time.perf_counter() - started
    whole = seconds(lambda: engine.run(images), 5)
    say(f"a batch takes {whole * 1e3:.1f} ms, of which {left * 1e3:.2f} ms are left when run returns")
    assert left < 0.2 * whole


def test_batches_grow_under_load(device: torch.device, say: Callable[[str], None]) -> None:
    engine = engine_of(SPECS[1], 128, device, choose_precision("auto", device).dtype)
    images, sizes, clients, each = images_of(128), [], 16, 12
    batcher: Batcher[np.ndarray, Logits] = Batcher(8, 64)

    def compute(items: list[np.ndarray]) -> list[Logits]:
        sizes.append(len(items))
        return list(engine.run(np.stack(items)))

    def client() -> None:
        for _ in range(each):
            on_cpu(batcher.submit(images[0], time.monotonic() + 600, 600.0).result())

    engine.run(images)
    threads = [threading.Thread(target=client) for _ in range(clients)]
    server = threading.Thread(target=lambda: batcher.run(compute))
    started = time.perf_counter()
    for thread in (server, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - started
    batcher.stop()
    server.join()
    mean = sum(sizes) / len(sizes)
    say(f"{clients} clients: {clients * each / taken:.0f} images/s in batches of {mean:.1f}")
    assert mean > 4


@pytest.mark.gpu
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.architecture)
def test_cuda_graphs_compute_the_same_for_each_number_of_images(
    spec: ModelSpec, device: torch.device, say: Callable[[str], None]
) -> None:
    images = images_of(224)
    engine = engine_of(spec, 224, device, choose_precision("auto", device).dtype)
    engine.settle_precision(images)
    expected = {count: on_cpu(engine.run(images[:count])) for count in range(1, 9)}
    before = seconds(lambda: engine.run(images[:1]))
    torch.cuda.empty_cache()
    reserved = torch.cuda.memory_reserved()
    engine.record_graphs(images)
    taken = (torch.cuda.memory_reserved() - reserved) / 2**20
    assert engine._graphs is not None
    assert sorted(engine._graphs.sizes) == [1, 2, 4, 8]
    for _ in range(2):
        for count, logits in expected.items():
            for each, other in zip(on_cpu(engine.run(images[:count])), logits, strict=True):
                assert apart(each, other) < 5e-2, count  # cuDNN times its convolutions now, and may choose others
    after = seconds(lambda: engine.run(images[:1]))
    say(f"one image takes {before * 1e3:.2f} ms, with graphs {after * 1e3:.2f} ms; they take {taken:.0f} MiB")


@pytest.mark.gpu
def test_a_network_that_cannot_be_recorded_is_served_without_graphs(device: torch.device) -> None:
    class Asks(nn.Module):
        """Asks the GPU for a number in the middle of its forward pass."""

        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.net(images)
            return logits if logits.sum().item() > 0 else logits + 0

    net = Asks(build_model(SPECS[0])).eval()
    engine = TorchEngine(net, config_of(SPECS[0], 64), device, Precision(torch.float32, "cuda"))
    images = images_of(64)
    expected = on_cpu(engine.run(images))
    engine.record_graphs(images)
    assert engine._graphs is None
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert apart(on_cpu(engine.run(images)), expected) < 1e-2
