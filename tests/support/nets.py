"""Predictors around networks that tests make themselves."""

from __future__ import annotations

import torch
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.precision import Precision

CPU = torch.device("cpu")


def predictor_of(net: nn.Module, config: ModelConfig, kind: type[Predictor] = Predictor) -> Predictor:
    """In float32 on the CPU, in evaluation mode."""
    return kind(config, TorchEngine(net.eval(), config, CPU, Precision(torch.float32, "cpu")))
