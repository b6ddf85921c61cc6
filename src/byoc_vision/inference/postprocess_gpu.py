"""The functions of postprocess.py for logits on a GPU: only the prediction is copied to the CPU.

Both interpolate bilinearly with half-pixel centres; their results differ only by rounding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from byoc_vision.preprocess import Preprocess

PLANES_BYTES = 2**26  # of all classes' planes of an image; above, one class at a time is resized


@torch.inference_mode()
def label_pixels(
    logits: Tensor, rule: Preprocess, height: int, width: int, threshold: float | None = None
) -> np.ndarray:
    """See postprocess.py."""
    return _labels(logits, rule, height, width, threshold).cpu().numpy()


@torch.inference_mode()
def restore_planes(logits: Tensor, rule: Preprocess, height: int, width: int) -> np.ndarray:
    """See postprocess.py. Each plane is copied to the CPU before the next one is made."""
    return np.stack([_restore(plane[None], rule, height, width)[0].cpu().numpy() for plane in logits])


def _labels(logits: Tensor, rule: Preprocess, height: int, width: int, threshold: float | None) -> Tensor:
    """uint8 [height, width] on the device.

    The memory for large images does not grow with the number of classes.
    """
    if threshold is not None:
        logit_threshold = float(torch.logit(torch.tensor(threshold)))
        return (_restore(logits[:1], rule, height, width)[0] > logit_threshold).to(torch.uint8)
    if len(logits) * height * width * logits.element_size() <= PLANES_BYTES:
        return _restore(logits, rule, height, width).argmax(dim=0).to(torch.uint8)
    best = _restore(logits[:1], rule, height, width)[0]
    labels = torch.zeros_like(best, dtype=torch.uint8)
    for index in range(1, len(logits)):
        plane = _restore(logits[index : index + 1], rule, height, width)[0]
        labels.masked_fill_(plane > best, index)
        torch.maximum(plane, best, out=best)
    return labels


def _restore(logits: Tensor, rule: Preprocess, height: int, width: int) -> Tensor:
    """Logits [K, h, w] to [K, height, width]."""
    window = rule.window(height, width)
    inner = logits[:, window.top : window.top + window.height, window.left : window.left + window.width]
    return nn.functional.interpolate(inner[None], (height, width), mode="bilinear", align_corners=False)[0]
