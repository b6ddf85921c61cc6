"""The hyperparameters of SageMaker's built-in vision algorithms.

Most have the same name here. The others are translated, or have no effect, which a warning says.
Source: "Semantic Segmentation Hyperparameters" and "Image Classification Hyperparameters" in the SageMaker developer
guide.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

RESNET_DEPTHS = (18, 34, 50, 101, 152, 200)

RETIRED: Mapping[str, str] = {
    "gamma2": "rmsprop has one decay here, gamma1",
    "kv_store": "GPUs and hosts average their gradients in each step",
}
"""Names that are accepted without effect, and the reason."""


def translate(name: str, value: Any) -> tuple[str, Any]:
    """The field and the value for a built-in algorithm's name and value; others are returned unchanged.

    Raises ValueError that says what is allowed.
    """
    translation = _TRANSLATIONS.get(name)
    return translation(value) if translation else (name, value)


def _model_of_depth(value: Any) -> tuple[str, Any]:
    if value not in RESNET_DEPTHS:
        raise ValueError(f"a ResNet has {', '.join(map(str, RESNET_DEPTHS))} layers here; use `model` for others")
    return "model", f"resnet{value}"


def _size_of_shape(value: Any) -> tuple[str, Any]:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise ValueError('is "channels, height, width", such as "3,224,224"')
    channels, height, width = parts
    if str(channels) not in ("1", "3"):
        raise ValueError(f"images have 3 channels, not {channels}")
    if str(channels) == "1":
        logger.warning("image_shape: grey images are read as three equal channels")
    return "image_size", [height, width]


def _resize(value: Any) -> tuple[str, Any]:
    """A number is the shorter side, as in the built-in Image Classification; a word is the resize rule."""
    return ("short_side" if isinstance(value, int | float) and not isinstance(value, bool) else "resize"), value


def _class_weights(value: Any) -> tuple[str, Any]:
    if value not in (0, 1):
        raise ValueError("is 0 or 1")
    return "class_weights", "balanced" if value else "none"


_TRANSLATIONS: Mapping[str, Callable[[Any], tuple[str, Any]]] = {
    "num_layers": _model_of_depth,
    "image_shape": _size_of_shape,
    "resize": _resize,
    "use_weighted_loss": _class_weights,
}

TRANSLATED = frozenset(_TRANSLATIONS)
"""The names that `translate` changes."""
