"""Where a classifier looked: the parts of an image that speak for a class, after Grad-CAM.

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

OPACITY = 0.7  # of the parts that speak most for the class
LONG_SIDE = 1024  # pixels of what is drawn

_PROBED = 384  # pixels a side
_LITTLE = 1e-6
_SOMETHING = 1e-12


@dataclass(frozen=True)
class Explanation:
    """heat: how much each part speaks for the class, float32 [h, w] over the model's input, 0–1; all 0 where none does.

    probability: of the class.
    """

    class_name: str
    probability: float
    heat: np.ndarray


class Explainer:
    """Of one classifier, by gradients: it computes with PyTorch, whatever serves the model."""

    def __init__(self, predictor: Predictor) -> None:
        """Raises InputError for a model whose answers cannot be explained so."""
        check_can_explain(predictor.config)
        assert isinstance(predictor.engine, TorchEngine), "gradients are computed by PyTorch"
        self.predictor = predictor
        self._network = _Halves(predictor.engine.model, _channels_last(predictor))
        backbone, channels_last = _backbone(predictor.engine.net), self._network.features.channels_last
        self._shift = places_off(backbone, channels_last, predictor.device)

    def explain(self, rgb: np.ndarray, class_name: str | None = None) -> Explanation:
        """What of an image, uint8 RGB [H, W, 3], speaks for a class; by default for the likeliest.

        Raises InputError for a class that the model does not know.
        """
        from captum.attr import LayerGradCam

        answer = self.predictor.predict([rgb])[0]
        assert isinstance(answer, Classification)
        name = class_name if class_name is not None else answer.ranked()[0][0]
        index = class_index(self.predictor.config, name)
        prepared = self.predictor.prepare(rgb)
        method = LayerGradCam(self._network, self._network.features)
        image = torch.from_numpy(prepared.pixels).permute(2, 0, 1)[None].to(self.predictor.device)
        heat = method.attribute(image, target=index, relu_attributions=True)[0, 0].detach().cpu().numpy()
        return Explanation(name, float(answer.probabilities[index]), self._over_image(_to_one(heat)))

    def _over_image(self, heat: np.ndarray) -> np.ndarray:
        """[y, x] → [height, width] of the model's input, each place where its middle is."""
        rule, (down, right) = self.predictor.config.preprocess, self._shift
        size = (rule.width, rule.height)
        moved = np.array([[1, 0, right], [0, 1, down]], np.float32)
        return cv2.warpAffine(cv2.resize(heat, size), moved, size, borderMode=cv2.BORDER_REPLICATE)


class _Features(nn.Module):
    """The network up to its last map: images, uint8 [N, 3, h, w], to [N, C, y, x]."""

    def __init__(self, model: Normalized, channels_last: bool) -> None:
        super().__init__()
        self.model = model
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> Tensor:
        normalized = images.float() * self.model.scale + self.model.shift
        features: Tensor = _backbone(self.model.net).forward_features(normalized)
        return features.permute(0, 3, 1, 2) if self.channels_last else features


class _Halves(nn.Module):
    """A classifier in two: what gives its last map of features, and the rest.

    channels_last: the map is [N, y, x, C] to the network, as in Swin.
    """

    def __init__(self, model: Normalized, channels_last: bool) -> None:
        super().__init__()
        self.features = _Features(model, channels_last)
        self.net = model.net

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        if self.features.channels_last:
            features = features.permute(0, 2, 3, 1)
        # A copy: what follows may change it in place, and its gradients are asked for.
        pooled: Tensor = _backbone(self.net).forward_head(features.clone())
        return self.net.head(pooled) if isinstance(self.net, CustomHead) else pooled


def _backbone(net: nn.Module) -> Any:
    """timm's network."""
    return net.backbone if isinstance(net, CustomHead) else net


def _channels_last(predictor: Predictor) -> bool:
    """Where the channels are in the network's last map. Raises InputError where there is no such map."""
    assert isinstance(predictor.engine, TorchEngine)
    rule, name = predictor.config.preprocess, predictor.config.model.architecture
    backbone = _backbone(predictor.engine.net)
    with torch.no_grad():
        features = backbone.forward_features(torch.zeros(1, 3, rule.height, rule.width, device=predictor.device))
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise InputError(
            f"{name} has no map of features to look back from; explain is for convolutional networks, such as "
            "resnet18, mobilenetv2_100 or convnext_tiny. predict gives its probabilities"
        )
    if features[0].numel() == backbone.num_features:
        raise InputError(
            f"{name} sees an image of {rule.height} × {rule.width} as one place, so that none can be told from "
            "another; train it with a larger image_size, such as 224"
        )
    return bool(features.shape[1] != backbone.num_features)


def places_off(backbone: Any, channels_last: bool = False, device: str = "cpu") -> tuple[float, float]:
    """How far down and right of the middle of its cell a place of the last map looks, in pixels of the input.

    A convolution of stride 2 with padding looks half a pixel up and left of there; five of them add up to 16 pixels.
    Seen from a copy in which all weights are equal, so that what reaches a place is symmetric about its middle; 0 where
    nothing reaches it so.
    """
    probe = copy.deepcopy(backbone).eval().float()
    for module in probe.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    # So little that no activation is at its upper end.
    blank = torch.full((1, 3, _PROBED, _PROBED), _LITTLE, device=device, requires_grad=True)
    try:
        with torch.enable_grad():
            features = probe.forward_features(blank)
            features = features if channels_last else features.permute(0, 2, 3, 1)
            row, column = features.shape[1] // 2, features.shape[2] // 2
            reached = torch.autograd.grad(features[0, row, column].sum(), blank)[0][0].abs().sum(dim=0)
    except (RuntimeError, AssertionError):  # it takes images of its own size alone
        return 0.0, 0.0
    total = reached.sum()
    if not torch.isfinite(total) or total < _SOMETHING:
        return 0.0, 0.0
    middles = torch.arange(_PROBED, device=reached.device) + 0.5
    down = (reached.sum(dim=1) @ middles / total).item() - (row + 0.5) * _PROBED / features.shape[1]
    right = (reached.sum(dim=0) @ middles / total).item() - (column + 0.5) * _PROBED / features.shape[2]
    return down, right


def check_can_explain(config: ModelConfig) -> None:
    """Raises InputError for a model of masks."""
    if config.task != "classification":
        raise InputError(
            "explain is for classifiers: it shows what speaks for a class. This model draws masks, which say "
            "themselves where a class is: see them with `byoc-vision predict --overlay`"
        )


def class_index(config: ModelConfig, name: str) -> int:
    """Raises InputError that names the nearest."""
    if name in config.class_names:
        return config.class_names.index(name)
    nearest = difflib.get_close_matches(name, config.class_names, n=1)
    known = f"did you mean {nearest[0]}?" if nearest else f"it knows {', '.join(config.class_names[:20])}"
    raise InputError(f"--class {name} is no class of the model; {known}")


def draw_heat(config: ModelConfig, rgb: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """What speaks for the class in warm colours over the image, uint8 RGB [h, w, 3]; of what the model sees of it."""
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


def _to_one(heat: np.ndarray) -> np.ndarray:
    """The highest is 1, unless all are 0."""
    highest = float(heat.max())
    return (heat / highest).astype(np.float32) if highest > 0 else np.zeros_like(heat, np.float32)
