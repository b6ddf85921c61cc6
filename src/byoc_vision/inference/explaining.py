"""Explains a classifier's prediction: finds the parts of an image that support a class, with Grad-CAM.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017.
"""

from __future__ import annotations

import copy
import difflib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Classification, Predictor
from byoc_vision.models.classifier import CustomHead
from byoc_vision.models.normalized import Normalized

OPACITY = 0.7  # of the parts with the most heat
LONG_SIDE = 1024  # pixels of the drawn image

_PROBE_SIDE = 384  # pixels
_PROBE_VALUE = 1e-6
_SMALLEST_GRADIENT = 1e-12


@dataclass(frozen=True)
class Explanation:
    """The parts of an image that support a class.

    heat: how much each pixel of the model's input supports the class, float32 [h, w], 0–1; all 0 if none does.
    probability: of the class.
    """

    class_name: str
    probability: float
    heat: np.ndarray


class Explainer:
    """Explains the predictions of one classifier. It needs gradients, so it always computes with PyTorch."""

    def __init__(self, predictor: Predictor) -> None:
        """Raises InputError if Grad-CAM cannot explain the model."""
        check_can_explain(predictor.config)
        assert isinstance(predictor.engine, TorchEngine), "gradients are computed by PyTorch"
        self.predictor = predictor
        self._network = _SplitNetwork(predictor.engine.model, _channels_last(predictor))
        backbone, channels_last = _backbone(predictor.engine.net), self._network.features.channels_last
        self._shift = cell_offset(backbone, channels_last, predictor.device)

    def explain(self, rgb: np.ndarray, class_name: str | None = None) -> Explanation:
        """The parts of an image, uint8 RGB [H, W, 3], that support a class; by default the most probable class.

        Raises InputError if the model does not have the class.
        """
        from captum.attr import LayerGradCam

        prediction = self.predictor.predict([rgb])[0]
        assert isinstance(prediction, Classification)
        name = class_name if class_name is not None else prediction.ranked()[0][0]
        index = class_index(self.predictor.config, name)
        prepared = self.predictor.prepare(rgb)
        method = LayerGradCam(self._network, self._network.features)
        image = torch.from_numpy(prepared.pixels).permute(2, 0, 1)[None].to(self.predictor.device)
        heat = method.attribute(image, target=index, relu_attributions=True)[0, 0].detach().cpu().numpy()
        return Explanation(name, float(prediction.probabilities[index]), self._resize_to_input(_scale_to_one(heat)))

    def _resize_to_input(self, heat: np.ndarray) -> np.ndarray:
        """[y, x] → [height, width] of the model's input; each cell moves to the centre of its receptive field."""
        rule, (down, right) = self.predictor.config.preprocess, self._shift
        size = (rule.width, rule.height)
        shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
        return cv2.warpAffine(cv2.resize(heat, size), shift, size, borderMode=cv2.BORDER_REPLICATE)


class _Features(nn.Module):
    """The network up to its last feature map: images, uint8 [N, 3, h, w], to [N, C, y, x]."""

    def __init__(self, model: Normalized, channels_last: bool) -> None:
        super().__init__()
        self.model = model
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> Tensor:
        normalized = images.float() * self.model.scale + self.model.shift
        features: Tensor = _backbone(self.model.net).forward_features(normalized)
        return features.permute(0, 3, 1, 2) if self.channels_last else features


class _SplitNetwork(nn.Module):
    """A classifier in two parts: up to its last feature map, and the rest.

    channels_last: the network's own feature map is [N, y, x, C], as in Swin.
    """

    def __init__(self, model: Normalized, channels_last: bool) -> None:
        super().__init__()
        self.features = _Features(model, channels_last)
        self.net = model.net

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        if self.features.channels_last:
            features = features.permute(0, 2, 3, 1)
        # A copy, because the next layers may change it in place and Grad-CAM needs its gradients.
        pooled: Tensor = _backbone(self.net).forward_head(features.clone())
        return self.net.head(pooled) if isinstance(self.net, CustomHead) else pooled


def _backbone(net: nn.Module) -> Any:
    """timm's network within a classifier."""
    return net.backbone if isinstance(net, CustomHead) else net


def _channels_last(predictor: Predictor) -> bool:
    """Whether the last feature map is [N, y, x, C]. Raises InputError if the network has no feature map."""
    assert isinstance(predictor.engine, TorchEngine)
    rule, name = predictor.config.preprocess, predictor.config.model.architecture
    backbone = _backbone(predictor.engine.net)
    with torch.no_grad():
        features = backbone.forward_features(
            torch.zeros(1, rule.channels, rule.height, rule.width, device=predictor.device)
        )
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise InputError(
            f"{name} has no feature map; explain needs a convolutional network, such as resnet18, mobilenetv2_100 or "
            "convnext_tiny. `byoc-vision predict` writes its probabilities"
        )
    if features[0].numel() == backbone.num_features:
        raise InputError(
            f"the feature map of {name} has a single cell for an image of {rule.height} × {rule.width}, so explain "
            "cannot locate a class; train it with a larger image_size, such as 224"
        )
    return bool(features.shape[1] != backbone.num_features)


def cell_offset(backbone: Any, channels_last: bool = False, device: str = "cpu") -> tuple[float, float]:
    """The offset from a cell's centre to the centre of its receptive field: (down, right) in pixels of the input.

    A convolution of stride 2 with padding moves the field half a pixel up and left; five of them add up to 16 pixels.
    Measured on a copy whose weights are all equal, so that a receptive field is symmetric about its centre; 0 if
    no gradient reaches the input.
    """
    probe = copy.deepcopy(backbone).eval().float()
    for module in probe.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    # The values are so small that no activation saturates.
    channels = next((module.in_channels for module in probe.modules() if isinstance(module, nn.Conv2d)), 3)
    blank = torch.full((1, channels, _PROBE_SIDE, _PROBE_SIDE), _PROBE_VALUE, device=device, requires_grad=True)
    try:
        with torch.enable_grad():
            features = probe.forward_features(blank)
            features = features if channels_last else features.permute(0, 2, 3, 1)
            row, column = features.shape[1] // 2, features.shape[2] // 2
            gradient = torch.autograd.grad(features[0, row, column].sum(), blank)[0][0].abs().sum(dim=0)
    except (RuntimeError, AssertionError):  # it only accepts images of its own size
        return 0.0, 0.0
    total = gradient.sum()
    if not torch.isfinite(total) or total < _SMALLEST_GRADIENT:
        return 0.0, 0.0
    centres = torch.arange(_PROBE_SIDE, device=gradient.device) + 0.5
    down = (gradient.sum(dim=1) @ centres / total).item() - (row + 0.5) * _PROBE_SIDE / features.shape[1]
    right = (gradient.sum(dim=0) @ centres / total).item() - (column + 0.5) * _PROBE_SIDE / features.shape[2]
    return down, right


def check_can_explain(config: ModelConfig) -> None:
    """Raises InputError for a segmentation model."""
    if config.task != "classification":
        raise InputError(
            "explain is for classifiers: it shows the parts of an image that support a class. This model predicts "
            "masks, which already show where a class is: draw them with `byoc-vision predict --overlay`"
        )


def class_index(config: ModelConfig, name: str) -> int:
    """The index of a class. Raises InputError, which names the most similar class, if the model does not have it."""
    if name in config.class_names:
        return config.class_names.index(name)
    nearest = difflib.get_close_matches(name, config.class_names, n=1)
    known = f"did you mean {nearest[0]}?" if nearest else f"its classes are {', '.join(config.class_names[:20])}"
    raise InputError(f"--class {name} is not a class of the model; {known}")


def draw_heat(config: ModelConfig, rgb: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Draw the heat in warm colours over the part of the image that the model sees, uint8 RGB [h, w, 3]."""
    seen = config.preprocess.visible(rgb)
    scale = min(1.0, LONG_SIDE / max(seen.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in seen.shape[1::-1])
    seen = cv2.resize(np.ascontiguousarray(seen), (width, height), interpolation=cv2.INTER_AREA)
    if config.preprocess.resize == "short_side":
        over = cv2.resize(heat, (width, height))
    else:
        over = config.preprocess.restore(heat, height, width)
    warm = cv2.applyColorMap(np.rint(over * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = (OPACITY * over)[..., None]
    drawn: np.ndarray = np.rint(seen * (1 - share) + warm * share).astype(np.uint8)
    return drawn


def _scale_to_one(heat: np.ndarray) -> np.ndarray:
    """Scale so that the highest value is 1, unless all are 0."""
    highest = float(heat.max())
    return (heat / highest).astype(np.float32) if highest > 0 else np.zeros_like(heat, np.float32)
