from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from byoc_vision.errors import DataError
from byoc_vision.models.build import build_model
from byoc_vision.models.weights import Weights, backbone, fit, load, read_weights
from byoc_vision.types import ModelSpec


def segmenter_spec(architecture: str, encoder: str | None = None, outputs: int = 1) -> ModelSpec:
    return ModelSpec(task="segmentation", architecture=architecture, encoder=encoder, outputs=outputs)


def classifier_spec(architecture: str, *hidden_units: int, outputs: int = 5) -> ModelSpec:
    return ModelSpec(task="classification", architecture=architecture, outputs=outputs, hidden_units=hidden_units)


def segmenter(architecture: str, encoder: str | None = None, outputs: int = 1) -> nn.Module:
    return build_model(segmenter_spec(architecture, encoder, outputs))


def classifier(architecture: str, *hidden_units: int, outputs: int = 5) -> nn.Module:
    return build_model(classifier_spec(architecture, *hidden_units, outputs=outputs))


@pytest.fixture
def weightless() -> Iterator[None]:
    """Networks have names and shapes only, which is all that `fit` looks at."""
    with torch.device("meta"):
        yield


def timm_weights(name: str) -> Weights:
    torch.manual_seed(1)
    return Weights("file", timm.create_model(name).state_dict())


@pytest.mark.parametrize(
    ("spec", "donor"),
    [
        (classifier_spec("resnet18", 8), "resnet18"),
        (segmenter_spec("unet", "resnet18"), "resnet18"),
        (segmenter_spec("unet", "tu-convnext_atto"), "convnext_atto"),
        (segmenter_spec("dpt", "tu-vit_tiny_patch16_224"), "vit_tiny_patch16_224"),
        (segmenter_spec("fcn_resnet50"), "resnet50"),
    ],
)
@pytest.mark.usefixtures("weightless")
def test_a_file_fits_all_networks_with_its_backbone(spec: ModelSpec, donor: str) -> None:
    assert fit(build_model(spec), timm_weights(donor)).is_complete


def test_matching_tensors_are_copied_and_others_keep_their_values() -> None:
    network, weights = segmenter("unet", "tu-mobilenetv3_small_050"), timm_weights("mobilenetv3_small_050")
    found = fit(network, weights)
    assert found.wanted == len(backbone(network).names)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    load(network, found)
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in found.tensors.items())
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - found.tensors.keys())


@pytest.mark.usefixtures("weightless")
def test_the_head_is_copied_only_if_it_has_as_many_outputs() -> None:
    weights = timm_weights("resnet18")
    assert {"fc.weight", "fc.bias"} <= set(fit(classifier("resnet18", outputs=1000), weights).tensors)
    assert not {"fc.weight", "fc.bias"} & set(fit(classifier("resnet18", outputs=10), weights).tensors)


@pytest.mark.usefixtures("weightless")
def test_the_decoder_of_an_earlier_model_is_copied_too() -> None:
    earlier = Weights("file", segmenter("fpn", "resnet18", outputs=3).state_dict())
    found = fit(segmenter("fpn", "resnet18", outputs=5), earlier)
    assert found.is_complete
    left = set(segmenter("fpn", "resnet18", outputs=5).state_dict()) - set(found.tensors)
    assert left == {"segmentation_head.0.weight", "segmentation_head.0.bias"}


@pytest.mark.usefixtures("weightless")
def test_the_custom_head_of_an_earlier_model_is_copied_too() -> None:
    earlier = Weights("file", classifier("resnet18", 8).state_dict())
    assert set(fit(classifier("resnet18", 8), earlier).tensors) == set(earlier.tensors)
    assert "head.2.weight" not in fit(classifier("resnet18", 8, outputs=7), earlier).tensors


def test_half_precision_is_cast() -> None:
    network = classifier("mobilenetv3_small_050")
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }
    load(network, fit(network, Weights("file", halves)))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.usefixtures("weightless")
def test_names_of_old_densenets_are_read() -> None:
    network = classifier("densenet121")
    old = {name.replace("norm1", "norm.1").replace("conv2", "conv.2"): t for name, t in network.state_dict().items()}
    assert fit(network, Weights("file", old)).is_complete


@pytest.mark.usefixtures("weightless")
def test_the_step_counter_of_batch_norm_may_be_missing() -> None:
    network = classifier("resnet18")
    tensors = {name: t for name, t in network.state_dict().items() if "num_batches_tracked" not in name}
    assert fit(network, Weights("file", tensors)).is_complete


@pytest.mark.usefixtures("weightless")
def test_missing_tensors_are_counted_and_named() -> None:
    found = fit(classifier("resnet34"), timm_weights("resnet18"))
    assert not found.is_complete
    assert found.describe() == (
        "100 of 180 tensors of the backbone match; "
        "missing: layer1.2.conv1.weight, layer1.2.bn1.weight, layer1.2.bn1.bias, …"
    )


@pytest.mark.parametrize(
    ("spec", "donor"),
    [
        (classifier_spec("resnet18"), "resnet34"),
        (segmenter_spec("unet", "tu-resnet18"), "resnet34"),
        (segmenter_spec("fcn_resnet50"), "resnet101"),
    ],
)
@pytest.mark.usefixtures("weightless")
def test_a_larger_network_of_the_family_does_not_fit(spec: ModelSpec, donor: str) -> None:
    found = fit(build_model(spec), timm_weights(donor))
    assert (found.missing, found.is_complete) == ((), False)
    assert found.describe().endswith(f"; too many: {', '.join(found.foreign[:3])}, …")


@pytest.mark.parametrize(
    ("spec", "donor"),
    [
        (classifier_spec("convnext_atto", 8), "convnext_atto"),
        (segmenter_spec("pspnet", "tu-mobilenetv3_small_050"), "mobilenetv3_small_050"),
    ],
)
@pytest.mark.usefixtures("weightless")
def test_last_layers_that_the_network_lacks_do_not_matter(spec: ModelSpec, donor: str) -> None:
    assert fit(build_model(spec), timm_weights(donor)).is_complete


@pytest.mark.usefixtures("weightless")
def test_a_tensor_of_another_shape_does_not_match() -> None:
    found = fit(classifier("wide_resnet50_2"), timm_weights("resnet50"))
    assert not found.is_complete
    assert "layer1.0.conv1.weight" in found.missing


def test_mean_and_std_come_from_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"mean": "0.1,0.2,0.3", "std": "1, 2, 3"})
    weights = read_weights(path)
    assert (weights.source, weights.mean, weights.std) == ("w.safetensors", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def test_without_metadata_mean_and_std_are_unknown(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors").mean is None


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_the_error_names_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"w\.safetensors is not a complete safetensors file"):
        read_weights(tmp_path / "w.safetensors")


def test_the_error_names_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="is not a complete safetensors file"):
        read_weights(path)


@pytest.mark.parametrize("mean", ["0.5", "a,b,c", "1,2,3,4"])
def test_the_error_names_metadata_that_is_not_three_numbers(tmp_path: Path, mean: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {"mean": mean})
    with pytest.raises(DataError, match=f"mean={mean} in its metadata is not three numbers"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(task="classification", architecture="resnet10t", outputs=2),
        ModelSpec(task="segmentation", architecture="unet", encoder="mobilenet_v2", outputs=1),
        ModelSpec(task="segmentation", architecture="fcn_resnet50", outputs=2),
    ],
)
def test_the_first_layer_is_widened_from_weights_for_three_channels(spec: ModelSpec) -> None:
    """Four equal bands give what three equal channels give: the first layer's sums stay as large."""
    torch.manual_seed(0)
    published = build_model(spec).eval()
    network = build_model(spec.model_copy(update={"in_channels": 5})).eval()
    found = fit(network, Weights("published", published.state_dict()))
    assert found.is_complete
    load(network, found)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected, widened = published(grey.expand(1, 3, 64, 64)), network(grey.expand(1, 5, 64, 64))
    changed = [
        name for name, tensor in network.state_dict().items() if tensor.shape != published.state_dict()[name].shape
    ]
    assert len(changed) == 1
    first = published.state_dict()[changed[0]]
    torch.testing.assert_close(network.state_dict()[changed[0]][:, 3], first[:, 0] * 3 / 5)
    assert expected.shape == widened.shape
