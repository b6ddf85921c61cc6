from __future__ import annotations

import pytest
import torch
from torch import nn

from byoc_vision.models.unet import UNet


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_unet_has_31_million_parameters() -> None:
    # The count of milesial/Pytorch-UNet, the best known implementation, for one class.
    assert parameters(UNet(outputs=1)) == 31_037_633


def test_unet_small_has_two_million_parameters() -> None:
    assert parameters(UNet(outputs=1, width=16)) == 1_942_577


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 80), (48, 16)])
def test_the_prediction_covers_the_whole_image(height: int, width: int) -> None:
    logits = UNet(outputs=3, width=2)(torch.rand(2, 3, height, width))
    assert logits.shape == (2, 3, height, width)


def test_every_level_has_half_the_size_and_twice_the_channels() -> None:
    shapes = []
    model = UNet(outputs=1)
    for module in [model.stem, *model.down, *model.up]:
        module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.device("meta"):
        model.to("meta")(torch.empty(1, 3, 64, 64))
    down = [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4)]
    assert shapes == down + down[-2::-1]


def test_the_receptive_field_is_the_paper_s() -> None:
    torch.manual_seed(0)  # by bad luck all of so few units may be dead
    model = UNet(outputs=1, width=4).eval()
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    model(image)[0, 0, 128, 128].backward()
    assert image.grad is not None
    seen = image.grad.abs().sum(dim=(0, 1)) > 0
    # 3×3 convolutions, two a level: further than 64 pixels to each side, never as far as 128.
    assert seen[:, 64:].any(dim=1).sum() > 128
    assert not seen[0].any()


def test_convolutions_keep_the_variance_of_their_input() -> None:
    torch.manual_seed(0)
    for module in UNet(outputs=2, width=64).modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.25)
        elif isinstance(module, nn.ConvTranspose2d):
            assert module.weight.std().item() == pytest.approx(module.in_channels**-0.5, rel=0.05)
