"""The comparison finds errors of an exported model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError
from byoc_vision.export.comparison import TOLERANCE, compare, reference_images
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

CARD = ModelConfig(
    model=ModelSpec(task="segmentation", architecture="unet_small", outputs=1),
    classes=(ClassInfo(name="no", value=0), ClassInfo(name="yes", value=1)),
    activation="sigmoid",
    preprocess=Preprocess(height=16, width=24, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
)


class Brightness(nn.Module):
    """A logit for each pixel: how bright it is."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1, keepdim=True)


def brightness(images: np.ndarray) -> np.ndarray:
    """The same, computed without the model: float32 [N, 1, h, w]."""
    return (((images / 255 - 0.5) / 0.25).mean(axis=-1)[:, None]).astype(np.float32)


def test_equal_logits_are_close() -> None:
    seen = compare(Brightness(), CARD, brightness)
    assert seen.is_close
    assert seen.share < 1e-6
    assert seen.spread == pytest.approx(brightness(np.stack(list(images().values()))).std(), rel=1e-5)


def test_the_largest_difference_is_reported_with_its_image() -> None:
    def off(given: np.ndarray) -> np.ndarray:
        answers = brightness(given)
        answers[(given == 255).all(axis=(1, 2, 3)), 0, 3, 5] += 0.25
        return answers

    seen = compare(Brightness(), CARD, off)
    assert not seen.is_close
    assert (seen.image, seen.batch) == ("white", 3)
    assert seen.largest == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize(("factor", "close"), [(0.5, True), (2, False)])
def test_the_tolerance_is_relative_to_the_spread(factor: float, close: bool) -> None:
    spread = compare(Brightness(), CARD, brightness).spread
    assert compare(Brightness(), CARD, lambda given: brightness(given) + factor * TOLERANCE * spread).is_close == close


@pytest.mark.parametrize("batch", [1, 3])
def test_an_error_in_one_batch_size_is_found(batch: int) -> None:
    seen = compare(Brightness(), CARD, lambda given: brightness(given) + (len(given) == batch))
    assert not seen.is_close
    assert seen.batch == batch


def test_nan_and_wrong_shapes_are_not_close() -> None:
    assert not compare(Brightness(), CARD, lambda given: brightness(given) * np.nan).is_close
    assert not compare(Brightness(), CARD, lambda given: brightness(given)[:, 0]).is_close


def test_a_model_with_infinite_logits_is_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.inf

    with pytest.raises(DataError, match="not finite; train it again"):
        compare(Broken(), CARD, brightness)


def images() -> dict[str, np.ndarray]:
    return reference_images(16, 24)


def test_the_reference_images_are_fixed_and_cover_all_values() -> None:
    first, second = images(), images()
    assert len(first) == 7
    assert all((first[name] == second[name]).all() for name in first)
    assert all(image.shape == (16, 24, 3) and image.dtype == np.uint8 for image in first.values())
    assert {int(first[name].max()) for name in ("white", "gradient")} == {255}
    assert first["black"].max() == 0
    assert not (first["gradient"] == first["gradient"][:, :, ::-1]).all(), "channels that are swapped must be seen"
    assert not (first["clouds"] == first["clouds"][:, ::-1]).all()
