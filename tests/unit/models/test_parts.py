from __future__ import annotations

import pytest
from torch import nn

from byoc_vision.models.build import build_model
from byoc_vision.models.parts import encoder_of, layers_of
from byoc_vision.models.shapes import freeze_unused
from byoc_vision.types import ModelSpec


def network(task: str, architecture: str, **options: object) -> nn.Module:
    return build_model(ModelSpec.model_validate({"task": task, "architecture": architecture, "outputs": 3, **options}))


def names(net: nn.Module) -> tuple[set[str], set[str]]:
    """The parameters of the encoder, and the others, by name."""
    encoder = encoder_of(net)
    assert encoder is not None
    inside = {id(parameter) for parameter in encoder.parameters}
    of_encoder = {name for name, parameter in net.named_parameters() if id(parameter) in inside}
    return of_encoder, {name for name, _ in net.named_parameters()} - of_encoder


@pytest.mark.parametrize(
    ("net", "others"),
    [
        (network("classification", "resnet18"), {"fc.weight", "fc.bias"}),
        (network("classification", "mobilenetv2_100"), {"classifier.weight", "classifier.bias"}),
    ],
)
def test_a_classifier_s_encoder_is_all_but_its_last_layer(net: nn.Module, others: set[str]) -> None:
    assert names(net)[1] == others


def test_hidden_layers_belong_to_the_head() -> None:
    _, others = names(network("classification", "resnet18", hidden_units=(8,)))
    assert others == {"head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias"}


@pytest.mark.parametrize(
    ("architecture", "encoder", "prefix"),
    [("unet", "mobilenet_v2", "encoder."), ("fpn", "resnet18", "encoder."), ("fcn_resnet50", None, "net.backbone.")],
)
def test_a_segmentation_network_has_an_encoder(architecture: str, encoder: str | None, prefix: str) -> None:
    inside, others = names(network("segmentation", architecture, encoder=encoder))
    assert inside
    assert all(name.startswith(prefix) for name in inside)
    assert others
    assert not any(name.startswith(prefix) for name in others)


def test_the_classic_u_net_has_no_encoder() -> None:
    assert encoder_of(network("segmentation", "unet_small")) is None


def test_unfreezing_does_not_unfreeze_unused_parameters() -> None:
    net = network("segmentation", "pspnet", encoder="resnet18")
    freeze_unused(net)
    before = [parameter.requires_grad for parameter in net.parameters()]
    encoder = encoder_of(net)
    assert encoder is not None
    encoder.freeze(True)
    assert not any(parameter.requires_grad for parameter in net.encoder.parameters())
    encoder.freeze(False)
    assert [parameter.requires_grad for parameter in net.parameters()] == before


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "test_vit", "convnext_atto"])
@pytest.mark.parametrize("hidden_units", [(), (8,)])
def test_layers_count_from_the_input_to_the_head(name: str, hidden_units: tuple[int, ...]) -> None:
    net = network("classification", name, hidden_units=hidden_units)
    layers = layers_of(net)
    assert layers is not None
    depths = [layers[id(parameter)] for parameter in net.parameters()]
    assert len(depths) == len(layers)
    assert depths[0] == 0
    assert depths[-1] == max(depths) > 4
    assert set(depths) == set(range(max(depths) + 1))


def test_networks_that_do_not_tell_their_layers() -> None:
    assert layers_of(network("segmentation", "unet", encoder="resnet18")) is None
