"""The functions of postprocess.py for logits on a GPU: only the prediction is copied to the CPU.

Both interpolate bilinearly with half-pixel centres; their results differ only by rounding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from byoc_vision.preprocess import Preprocess


def label_pixels(
    logits: Tensor, rule: Preprocess, height: int, width: int, threshold: float | None = None
) -> np.ndarray:
    """See postprocess.py."""
    planes = restore_planes(logits, rule, height, width)
    if threshold is not None:
        logit_threshold = float(torch.logit(torch.tensor(threshold)))
        return (planes[0] > logit_threshold).to(torch.uint8).cpu().numpy()
    return planes.argmax(dim=0).to(torch.uint8).cpu().numpy()


def restore_planes(logits: Tensor, rule: Preprocess, height: int, width: int) -> Tensor:
    """See postprocess.py; the planes stay on the GPU."""
    window = rule.window(height, width)
    inner = logits[:, window.top : window.top + window.height, window.left : window.left + window.width]
    return nn.functional.interpolate(inner[None], (height, width), mode="bilinear", align_corners=False)[0]
