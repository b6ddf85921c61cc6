"""Masks from logits on a GPU. Tensors on the CPU are computed by the same code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from byoc_vision.describe.step_memory import Live
from byoc_vision.inference import postprocess, postprocess_gpu
from byoc_vision.preprocess import Preprocess

MEGAPIXELS_12 = (3000, 4000)


@pytest.mark.parametrize("classes", [21, 150])
def test_the_memory_of_a_large_mask_does_not_grow_with_the_classes(classes: int) -> None:
    """Counted on fake tensors: all planes of 150 classes at 12 megapixels would take 7 GiB."""
    with FakeTensorMode(), Live() as live:
        logits = torch.empty(classes, 512, 512)
        postprocess_gpu._labels(logits, Preprocess(height=512, width=512), *MEGAPIXELS_12, None)
    assert live.peak < 400 * 2**20


@pytest.mark.parametrize(("height", "width"), [(80, 120), (333, 501)])
@pytest.mark.parametrize(("classes", "threshold"), [(1, 0.5), (1, 0.2), (3, None), (21, None)])
@pytest.mark.parametrize("plane_bytes", [0, 2**26])
def test_masks_are_those_of_the_cpu(
    height: int, width: int, classes: int, threshold: float | None, plane_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All classes at once, and one after another."""
    monkeypatch.setattr(postprocess_gpu, "PLANES_BYTES", plane_bytes)
    rule = Preprocess(height=96, width=128, resize="letterbox")
    coarse = torch.randn(1, classes, 12, 16, generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.interpolate(coarse, (96, 128), mode="bicubic")[0]
    theirs = postprocess.label_pixels(logits.numpy(), rule, height, width, threshold)
    with torch.inference_mode():
        logits = logits.clone()  # as a forward pass returns them
    ours = postprocess_gpu.label_pixels(logits, rule, height, width, threshold)
    assert ours.dtype == np.uint8
    assert (ours != theirs).mean() < 1e-3
    planes = postprocess_gpu.restore_planes(logits, rule, height, width)
    np.testing.assert_allclose(planes, postprocess.restore_planes(logits.numpy(), rule, height, width), atol=1e-4)
