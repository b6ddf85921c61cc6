"""Artifacts of networks that are small enough to be traced in a second, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.models.build import build_model
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec


def segmentation_card(preprocess: Preprocess, outputs: int = 1, threshold: float = 0.5) -> ModelConfig:
    """The smaller classic U-Net; mask values 0, 100, 200."""
    return ModelConfig(
        model=ModelSpec(task="segmentation", architecture="unet_small", outputs=outputs),
        classes=tuple(ClassInfo(name=f"class {index}", value=100 * index) for index in range(max(2, outputs))),
        activation="sigmoid" if outputs == 1 else "softmax",
        threshold=threshold,
        preprocess=preprocess,
    )


def classification_card(preprocess: Preprocess, multi_label: bool = False, name: str = "test_resnet") -> ModelConfig:
    """One of the networks that timm has for tests; three classes."""
    return ModelConfig(
        model=ModelSpec(task="classification", architecture=name, outputs=3),
        classes=tuple(ClassInfo(name=name) for name in ("coat", "dress", "hat & scarf")),
        activation="sigmoid" if multi_label else "softmax",
        preprocess=preprocess,
    )


def network(config: ModelConfig) -> nn.Module:
    """The model config's network, the same each time, as if it were trained: its answers differ between images."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net = build_model(config.model).train()
        head = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
        nn.init.normal_(head.weight, std=0.2)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # statistics of all that was seen, which is one batch
        net(torch.randn(2, 3, config.preprocess.height, config.preprocess.width))
    return net.eval()


def save(folder: Path, config: ModelConfig, net: nn.Module) -> Path:
    artifact.save(folder, config, net.state_dict())
    return folder
