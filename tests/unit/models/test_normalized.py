from __future__ import annotations

import pytest
import torch
from torch import nn

from byoc_vision.models.normalized import Normalized
from byoc_vision.preprocess import IMAGENET_MEAN, IMAGENET_STD


def test_it_computes_the_usual_formula() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(3, 1, 1)
    normalized = Normalized(nn.Identity(), IMAGENET_MEAN, IMAGENET_STD)(images)
    torch.testing.assert_close(normalized, (images / 255 - mean) / std)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_all_integer_types_give_the_same_result(dtype: torch.dtype) -> None:
    model = Normalized(nn.Identity(), (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    images = torch.tensor([0, 128, 255]).view(1, 3, 1, 1)
    if dtype == torch.bfloat16:  # it holds 0, 128 and 255 exactly
        assert torch.equal(images.to(dtype).long(), images)
    torch.testing.assert_close(model(images.to(dtype)), model(images.float()))


def test_the_input_is_not_changed() -> None:
    images = torch.full((1, 3, 2, 2), 7.0)
    Normalized(nn.Identity(), IMAGENET_MEAN, IMAGENET_STD)(images)
    assert (images == 7).all()


def test_channels_last_stays_channels_last() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).to(memory_format=torch.channels_last)
    normalized = Normalized(nn.Identity(), IMAGENET_MEAN, IMAGENET_STD)(images)
    assert normalized.is_contiguous(memory_format=torch.channels_last)


def test_under_autocast_it_normalises_in_float32_and_the_net_does_not() -> None:
    seen: list[torch.dtype] = []

    class Spy(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.dtype)
            return super().forward(x)

    model = Normalized(Spy(3, 4, 1), IMAGENET_MEAN, IMAGENET_STD)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert seen == [torch.float32]
    assert logits.dtype == torch.bfloat16


def test_only_the_net_is_saved() -> None:
    model = Normalized(nn.Conv2d(3, 1, 1), IMAGENET_MEAN, IMAGENET_STD)
    assert set(model.state_dict()) == {"net.weight", "net.bias"}
    assert set(model.net.state_dict()) == {"weight", "bias"}
