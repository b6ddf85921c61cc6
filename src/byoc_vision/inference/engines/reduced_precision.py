"""A network in half precision: its weights cast once, and its predictions compared with float32's when it is loaded."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

# These alone compute in half precision whatever their parent does. Subclasses may first compute something of their
# weights (weight standardisation), which float32 should do.
_CAST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
TOLERANCE = 0.1  # of the logits' spread: twice that of OpenVINO's bfloat16, since the network learnt in this precision


def cast_weights(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy whose convolutions and linear layers have their weights in `dtype`, for use under autocast.

    Autocast would cast them again in each forward pass. Normalisation stays in float32.
    """
    cast = copy.deepcopy(model)
    for module in cast.modules():
        if type(module) in _CAST:
            module.to(dtype)
    return cast


def difference(found: np.ndarray, expected: np.ndarray, *, centred: bool = False) -> str | None:
    """Why logits, [N, K] or [N, K, h, w], may not replace float32's, in words; None if they may.

    Logits that are not numbers in float32 either are not the precision's fault.

    Args:
        centred: whether the mean over the classes is taken off, which a softmax does not see.
    """
    if not np.isfinite(expected).all():
        return None
    if not np.isfinite(found).all():
        return "its logits are not finite numbers (NaN or infinite)"
    if centred:
        found, expected = (logits - logits.mean(axis=1, keepdims=True) for logits in (found, expected))
    distance = float(np.sqrt(np.mean((found - expected) ** 2)))
    spread = max(float(np.sqrt(np.mean(expected**2))), 1e-6)
    if distance > TOLERANCE * spread:
        return f"its logits are {distance:.3g} apart from those in float32, which are about {spread:.3g}"
    return None
