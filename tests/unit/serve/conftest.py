"""Two small real models, and the app around them, asked in-process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient
from support.apps import client_around
from support.images import encode
from torch import nn

from byoc_serve.model_service import ModelService
from byoc_serve.settings import Settings
from byoc_vision.artifact import ModelConfig
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.precision import Precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

DEFAULTS = Settings()

CLASSES = (ClassInfo(name="background", value=0), ClassInfo(name="car", value=7), ClassInfo(name="tree", value=200))


def make_predictor(task: str, net: nn.Module) -> Predictor:
    spec = ModelSpec(task=task, architecture="test", outputs=len(CLASSES))
    config = ModelConfig(
        model=spec, classes=CLASSES, activation="softmax", preprocess=Preprocess(height=16, width=24, resize="stretch")
    )
    return Predictor(config, TorchEngine(net.eval(), config, torch.device("cpu"), Precision(torch.float32, "cpu")))


@pytest.fixture(scope="session")
def segmenter() -> Predictor:
    """Per pixel: the strongest colour channel's class."""
    net = nn.Conv2d(3, 3, kernel_size=1)
    with torch.no_grad():
        net.weight.copy_(4 * torch.eye(3)[..., None, None])
        net.bias.zero_()
    return make_predictor("segmentation", net)


@pytest.fixture(scope="session")
def classifier() -> Predictor:
    """Per image: the strongest colour channel's class."""
    return make_predictor("classification", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))


@contextmanager
def serving(predictor: Predictor, settings: Settings = DEFAULTS) -> Iterator[FlaskClient]:
    """A client of the app around a predictor that is ready."""
    with client_around(lambda: ModelService(predictor, settings), settings) as client:
        yield client


@pytest.fixture
def serve() -> Iterator[Callable[[Predictor, Settings], FlaskClient]]:
    """Servers for a test with a model or settings of its own."""
    with ExitStack() as stack:
        yield lambda predictor, settings: stack.enter_context(serving(predictor, settings))


@pytest.fixture(scope="session")
def masks(segmenter: Predictor) -> Iterator[FlaskClient]:
    """The client of a server with a segmentation model."""
    with serving(segmenter) as client:
        yield client


@pytest.fixture(scope="session")
def labels(classifier: Predictor) -> Iterator[FlaskClient]:
    """The client of a server with a classification model."""
    with serving(classifier) as client:
        yield client


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """Red, green and blue stripes, uint8 [32, 48, 3]."""
    rgb = np.zeros((32, 48, 3), dtype=np.uint8)
    for channel in range(3):
        rgb[:, 16 * channel : 16 * (channel + 1), channel] = 255
    return rgb


@pytest.fixture(scope="session")
def png(image: np.ndarray) -> bytes:
    return encode(image)
