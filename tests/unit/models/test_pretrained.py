from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import timm
import torch
from safetensors.torch import save_file
from support.archives import pack_model
from torch import nn

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.models.build import build_model
from byoc_vision.models.normalisation import usual_normalisation
from byoc_vision.models.normalized import Normalized
from byoc_vision.models.pretrained import PretrainedInfo, load_pretrained
from byoc_vision.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

SMALL = "mobilenetv3_small_050"


def classifier(architecture: str = SMALL, outputs: int = 5) -> ModelSpec:
    return ModelSpec(task="classification", architecture=architecture, outputs=outputs)


def segmenter(architecture: str = "unet", encoder: str | None = None) -> ModelSpec:
    return ModelSpec(task="segmentation", architecture=architecture, encoder=encoder, outputs=1)


def start(spec: ModelSpec, channel: Path | None = None, baked: Path | None = None) -> PretrainedInfo:
    return load_pretrained(build_model(spec), spec, channel=channel, baked=baked, allow_hub=False)


@pytest.fixture(scope="module")
def donor() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return timm.create_model(SMALL).state_dict()


def test_a_file_of_any_name_in_the_channel_is_loaded(tmp_path: Path, donor: dict[str, torch.Tensor]) -> None:
    (tmp_path / "deeper").mkdir()
    save_file(donor, tmp_path / "deeper" / "whatever.safetensors", {"mean": "0.1,0.2,0.3", "std": "0.4,0.5,0.6"})
    (tmp_path / "README.txt").write_text("nothing to read here")
    network = build_model(classifier())
    info = load_pretrained(network, classifier(), channel=tmp_path, baked=None, allow_hub=False)
    assert info == PretrainedInfo("pretrained channel: whatever.safetensors", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert torch.equal(network.state_dict()["conv_stem.weight"], donor["conv_stem.weight"])
    assert network.state_dict()["classifier.weight"].shape == (5, 1024)


def test_the_channel_has_priority_over_the_image(tmp_path: Path, donor: dict[str, torch.Tensor]) -> None:
    for folder in ("channel", "baked"):
        (tmp_path / folder).mkdir()
        save_file(donor, tmp_path / folder / f"{SMALL}.safetensors")
    assert start(classifier(), tmp_path / "channel", tmp_path / "baked").source.startswith("pretrained channel:")
    assert start(classifier(), None, tmp_path / "baked").source == f"baked in the image: {SMALL}.safetensors"


@pytest.mark.parametrize("encoder", [f"tu-{SMALL}", SMALL])
def test_a_classifier_s_weights_in_the_image_fit_an_encoder(
    tmp_path: Path, donor: dict[str, torch.Tensor], encoder: str
) -> None:
    save_file(donor, tmp_path / f"{SMALL}.safetensors")
    assert start(segmenter("unet", encoder), baked=tmp_path).mean == IMAGENET_MEAN


def test_of_several_files_the_one_that_fits_is_used(tmp_path: Path, donor: dict[str, torch.Tensor]) -> None:
    save_file(donor, tmp_path / "a.safetensors")
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "b.safetensors")
    assert start(classifier("resnet18"), tmp_path).source == "pretrained channel: b.safetensors"


def test_two_files_that_fit_are_an_error(tmp_path: Path, donor: dict[str, torch.Tensor]) -> None:
    for name in "ab":
        save_file(donor, tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match=r"several files that fit .* \(a.safetensors, b.safetensors\); keep one"):
        start(classifier(), tmp_path)


def test_the_error_lists_all_files_that_do_not_fit_and_their_models(
    tmp_path: Path, donor: dict[str, torch.Tensor]
) -> None:
    save_file(donor, tmp_path / f"{SMALL}.mine.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError) as error:
        start(classifier("resnet18"), tmp_path)
    headline, first, second = str(error.value).splitlines()
    assert headline == "The pretrained channel holds nothing that fits resnet18:"
    assert first == (
        f"  - {SMALL}.mine.safetensors: 0 of 100 tensors of the backbone match; missing: conv1.weight, bn1.weight, "
        f"bn1.bias, …; it looks like the weights of model={SMALL}"
    )
    assert second.startswith("  - other.safetensors: 0 of 100 tensors")
    assert second.endswith("bn1.bias, …")


def test_a_common_model_is_recognised_from_the_content_of_its_file(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet34").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match="it looks like the weights of model=resnet34"):
        start(classifier("resnet50"), tmp_path)


def test_the_error_names_a_wrong_file_in_the_image(tmp_path: Path, donor: dict[str, torch.Tensor]) -> None:
    save_file(donor, tmp_path / "resnet18.safetensors")
    with pytest.raises(DataError, match=r"baked in the image: resnet18.safetensors does not fit resnet18: 0 of 100"):
        start(classifier("resnet18"), baked=tmp_path)


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "pytorch_model.bin"])
def test_the_error_for_a_pickle_says_how_to_convert_it(tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(
        InputError, match=rf"holds {name}: loading a pickle runs code .* only .safetensors .*weights_only=True"
    ):
        start(classifier(), tmp_path)


def test_the_conversion_command_works(tmp_path: Path, donor: dict[str, torch.Tensor]) -> None:
    torch.save(donor, tmp_path / "IN.pth")
    with pytest.raises(InputError) as error:
        start(classifier(), tmp_path)
    _, *command = shlex.split(str(error.value).partition("convert it: ")[2])
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True)
    assert start(classifier(), tmp_path).source == "pretrained channel: OUT.safetensors"


def test_an_empty_channel_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no weights \(it holds: nothing\)"):
        start(classifier(), tmp_path)


def test_without_any_weights_the_error_lists_three_remedies(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as error:
        start(segmenter("fpn", "resnet-18"), baked=tmp_path)
    for way in (
        "`pretrained` channel",
        '--build-arg PRETRAINED="resnet18"',
        "can reach the model hub",
        "pretrained=false",
    ):
        assert way in str(error.value)


def test_no_library_publishes_weights_of_the_classic_unet() -> None:
    with pytest.raises(ResourceError, match="No library publishes pretrained weights of the classic U-Net"):
        start(segmenter("unet"))


@pytest.mark.parametrize(
    ("spec", "mean"),
    [
        (classifier("resnet18"), IMAGENET_MEAN),
        (classifier("inception_v3"), (0.5, 0.5, 0.5)),
        (segmenter("unet", "mobilenet_v2"), IMAGENET_MEAN),
        (segmenter("unet", "inceptionv4"), (0.5, 0.5, 0.5)),
        (segmenter("unet", "tu-tf_efficientnet_lite0"), (0.5, 0.5, 0.5)),
        (segmenter("fcn_resnet50"), IMAGENET_MEAN),
    ],
)
def test_the_usual_normalisation_comes_from_timm(spec: ModelSpec, mean: tuple[float, ...]) -> None:
    assert usual_normalisation(spec)[0] == mean


class TestGoingOnFromAnEarlierModel:
    def saved(self, folder: Path, spec: ModelSpec) -> nn.Module:
        torch.manual_seed(3)
        network = build_model(spec)
        config = ModelConfig(
            model=spec,
            classes=(ClassInfo(name="no", value=0), ClassInfo(name="yes", value=1)),
            activation="sigmoid",
            preprocess=Preprocess(height=32, width=32, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
        )
        artifact.save(folder, config, network.state_dict())
        return network

    @pytest.mark.parametrize("nested", [".", "model"])
    def test_as_a_folder(self, tmp_path: Path, nested: str) -> None:
        earlier = self.saved(tmp_path / nested, segmenter("unet_small"))
        network = build_model(segmenter("unet_small"))
        info = load_pretrained(network, segmenter("unet_small"), channel=tmp_path, baked=None, allow_hub=False)
        assert info.mean == (0.1, 0.2, 0.3)
        assert info.source.endswith("a model of unet_small")
        assert all(torch.equal(earlier.state_dict()[name], tensor) for name, tensor in network.state_dict().items())

    def test_as_the_tarball_of_its_job(self, tmp_path: Path) -> None:
        self.saved(tmp_path / "model", segmenter("unet_small"))
        (tmp_path / "channel").mkdir()
        pack_model(tmp_path / "model", tmp_path / "channel" / "model.tar.gz")
        info = start(segmenter("unet_small"), tmp_path / "channel")
        assert info.source == "pretrained channel: model.tar.gz, a model of unet_small"

    def test_with_other_classes_only_the_last_layer_is_fresh(self, tmp_path: Path) -> None:
        earlier = self.saved(tmp_path, segmenter("unet_small")).state_dict()
        spec = ModelSpec(task="segmentation", architecture="unet_small", outputs=4)
        network = build_model(spec)
        load_pretrained(network, spec, channel=tmp_path, baked=None, allow_hub=False)
        same = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, earlier[name])}
        assert network.state_dict().keys() - same == {"head.weight", "head.bias"}

    def test_of_another_architecture_it_is_named(self, tmp_path: Path) -> None:
        self.saved(tmp_path, segmenter("unet_small"))
        with pytest.raises(DataError, match=r"a model of unet_small: 0 of \d+ tensors"):
            start(classifier(), tmp_path)


@pytest.mark.real_data
class TestRealWeights:
    """MobileNetV2 pretrained on ImageNet, in torchvision's and in timm's names."""

    def test_timm_s_file_makes_a_classifier_that_sees(self, shared_data: Path) -> None:
        spec = classifier("mobilenet_v2", outputs=1000)
        network = build_model(spec)
        info = load_pretrained(network, spec, channel=shared_data / "weights", baked=None, allow_hub=False)
        assert info == PretrainedInfo(
            "pretrained channel: mobilenetv2_100.timm.safetensors", IMAGENET_MEAN, IMAGENET_STD
        )
        assert most_frequent(network, info, shared_data / "clothing/validation/t-shirt") == 610  # "jersey, T-shirt"
        assert (
            most_frequent(network, info, shared_data / "clothing/validation/pants") == 608
        )  # "jean, blue jean, denim"

    def test_torchvision_s_file_makes_an_encoder(self, shared_data: Path) -> None:
        spec = segmenter("unet", "mobilenet_v2")
        network = build_model(spec)
        info = load_pretrained(network, spec, channel=shared_data / "weights", baked=None, allow_hub=False)
        assert info.source == "pretrained channel: mobilenet_v2.torchvision.safetensors"
        images = read_images(shared_data / "clothing/validation/shoes", 2)
        with torch.no_grad():
            logits = Normalized(network, info.mean, info.std).eval()(images)
        assert logits.shape == (2, 1, 224, 224)
        assert logits.isfinite().all()


def read_images(folder: Path, count: int) -> torch.Tensor:
    rule = Preprocess(height=224, width=224, resize="short_side")
    images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in sorted(folder.iterdir())[:count]]
    return torch.stack([torch.from_numpy(rule.image(image)).permute(2, 0, 1) for image in images])


def most_frequent(network: nn.Module, info: PretrainedInfo, folder: Path) -> int:
    """The class that is predicted for most of the images."""
    model = Normalized(network, info.mean, info.std).eval()
    with torch.no_grad():
        best = model(read_images(folder, 16)).argmax(dim=1)
    return int(best.mode().values)
