"""What files of pretrained weights expect, compared with what the libraries publish."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from byoc_vision.errors import InputError
from byoc_vision.models.build import build_model
from byoc_vision.models.names import canonical_spec
from byoc_vision.models.normalisation import IMAGENET, INCEPTION, NORMALISATIONS, check_architecture, normalisation_of
from byoc_vision.models.pretrained import PretrainedInfo, load_pretrained
from byoc_vision.models.weights import Weights, read_weights
from byoc_vision.types import ModelSpec


def classifier(name: str) -> ModelSpec:
    return canonical_spec(ModelSpec(task="classification", architecture=name, outputs=5))


def segmenter(encoder: str) -> ModelSpec:
    return canonical_spec(ModelSpec(task="segmentation", architecture="unet", encoder=encoder, outputs=1))


def weights(source: str, made_for: str | None = None) -> Weights:
    return Weights(source, {}, made_for=made_for)


def mean(spec: ModelSpec, source: str, made_for: str | None = None) -> float:
    is_plain = spec.encoder and spec.encoder.startswith("mit_")  # these cannot be built without memory
    with torch.device("meta"):
        network = torch.nn.Identity() if is_plain else build_model(spec)
    return normalisation_of(weights(source, made_for), spec, network)[0][0]


@pytest.mark.parametrize(
    ("encoder", "source", "expected"),
    [
        ("efficientnet-b1", "efficientnet-b1.safetensors", 0.485),
        ("efficientnet-b1", "efficientnet-b1.imagenet.safetensors", 0.485),
        ("efficientnet-b1", "efficientnet-b1-f1951068.safetensors", 0.485),
        ("efficientnet-b1", "efficientnet-b1.advprop.safetensors", 0.5),
        ("efficientnet-b1", "adv-efficientnet-b1-0f3ce85a.safetensors", 0.5),
        ("timm-efficientnet-b1", "tf_efficientnet_b1_ns-99dd0c41.safetensors", 0.485),
        ("timm-efficientnet-b1", "tf_efficientnet_b1_ap-44ef0a3d.safetensors", 0.5),
        ("timm-efficientnet-b1", "tf_efficientnet_b1.ap_in1k.safetensors", 0.5),
        ("xception", "weights.safetensors", 0.5),
        ("inceptionv4", "weights.safetensors", 0.5),
        ("dpn68b", "dpn68b.safetensors", 124 / 255),
        ("resnet34", "resnet34.safetensors", 0.485),
        ("resnet34", "resnet34-b627a593.safetensors", 0.485),
        ("resnet34", "resnet34.ra4_e3600_r224_in1k.safetensors", 0.5),
        ("mit_b0", "weights.safetensors", 0.485),
    ],
)
def test_an_encoders_normalisation_is_that_of_the_named_weights(encoder: str, source: str, expected: float) -> None:
    assert mean(segmenter(encoder), source) == pytest.approx(expected)


def test_every_encoder_of_the_library_has_a_known_default() -> None:
    """Those that segmentation-models-pytorch publishes with other values than ImageNet's, in its own words."""
    others = {name for name in smp.encoders.get_encoder_names() if not name.startswith("timm-")}
    network = torch.nn.Identity()
    others = {name for name in others if normalisation_of(weights(name), segmenter(name), network) != IMAGENET}
    dpns = {f"dpn{kind}" for kind in ("68", "68b", "92", "98", "107", "131")}
    assert others == {"xception", "inceptionv4", "inceptionresnetv2"} | dpns


def timm_names() -> list[str]:
    """Of each architecture with several normalisations all published weights."""
    several = []
    for base in timm.list_models():
        names = timm.list_pretrained(base)
        if len({(timm.get_pretrained_cfg(name).mean, timm.get_pretrained_cfg(name).std) for name in names}) > 1:
            several += names
    assert len({name.partition(".")[0] for name in several}) >= 34
    return several


def test_the_tag_or_the_hash_of_a_file_decides_for_every_architecture_with_several_normalisations() -> None:
    for name in timm_names():
        base, config = name.partition(".")[0], timm.get_pretrained_cfg(name)
        spec, network = classifier(base), torch.nn.Identity()
        expected = config.mean, config.std
        assert normalisation_of(weights(f"{name}.safetensors"), spec, network) == expected
        assert normalisation_of(weights("model.safetensors", name), spec, network) == expected
        assert normalisation_of(weights("model.safetensors"), classifier(name), network) == expected
        file = Path(config.url or "").stem
        if "-" in file:  # with a hash
            assert normalisation_of(weights(f"{file}.safetensors"), spec, network) == expected


@pytest.mark.parametrize(
    ("spec", "source", "remedy"),
    [
        (classifier("resnet34"), "resnet34.safetensors", r"model=resnet34\.a1_in1k, or normalization=imagenet"),
        (classifier("vit_base_patch16_224"), "model.safetensors", r"model=vit_base_patch16_224\."),
        (segmenter("tu-convnext_base"), "convnext_base.safetensors", r"encoder=tu-convnext_base\."),
        (segmenter("efficientnet-b1"), "model.safetensors", r"Set normalization=imagenet \(0\.485\)"),
        (segmenter("resnet34"), "model.safetensors", r"Set normalization=imagenet \(0\.485\)"),
    ],
)
def test_a_file_that_may_be_of_several_kinds_is_refused(spec: ModelSpec, source: str, remedy: str) -> None:
    with pytest.raises(InputError, match=rf"{source} does not say which weights of .*{remedy}"):
        mean(spec, source)


@pytest.mark.parametrize("plain", ["efficientnet_b0", "mobilenetv3_large_100", "mixnet_s"])
def test_weights_converted_from_tensorflow_are_not_those_of_the_plain_network(plain: str) -> None:
    converted = f"tf_{plain}"
    for of in (f"{converted}.in1k.safetensors", f"{converted}-0af12548.safetensors", f"timm/{converted}"):
        with pytest.raises(InputError, match=f"{of} has the weights of {converted}, .* set model={converted} instead"):
            check_architecture(weights(of), classifier(plain))
        check_architecture(weights(of), classifier(converted))
    with pytest.raises(InputError, match=f"has the weights of {plain}, .* set encoder=tu-{plain} instead"):
        check_architecture(weights(f"timm/{plain}.ra_in1k"), segmenter(f"tu-{converted}"))
    with pytest.raises(InputError, match=f"does not say whether its weights are of {plain} or of {converted}"):
        check_architecture(weights("model.safetensors"), classifier(plain))
    check_architecture(weights("model.safetensors"), classifier(timm.list_pretrained(plain)[0]))
    check_architecture(weights("model.safetensors"), classifier(plain), is_stated=True)


def test_every_converted_network_has_a_twin_or_tensors_of_its_own() -> None:
    """`check_architecture` relies on the names: `tf_X` beside `X`."""
    names = set(timm.list_models())
    twins = [name for name in names if name.startswith("tf_") and name.removeprefix("tf_") in names]
    assert len(twins) >= 32
    for name in ("tf_efficientnet_b0", "tf_mobilenetv3_small_100"):
        with torch.device("meta"):
            shapes, plain = (
                {key: tensor.shape for key, tensor in timm.create_model(one).state_dict().items()}
                for one in (name, name.removeprefix("tf_"))
            )
        assert shapes == plain


def test_the_names_of_normalisations_are_timms_values() -> None:
    constants = timm.data.constants
    assert NORMALISATIONS["clip"] == (constants.OPENAI_CLIP_MEAN, constants.OPENAI_CLIP_STD)
    assert NORMALISATIONS["dpn"] == (constants.IMAGENET_DPN_MEAN, constants.IMAGENET_DPN_STD)
    assert NORMALISATIONS["inception"] == (constants.IMAGENET_INCEPTION_MEAN, constants.IMAGENET_INCEPTION_STD)


def test_the_retired_names_of_encoders_are_the_converted_networks() -> None:
    assert segmenter("timm-efficientnet-b1").encoder == "tu-tf_efficientnet_b1"
    assert segmenter("timm-mobilenetv3_large_100").encoder == "tu-tf_mobilenetv3_large_100"
    assert segmenter("timm-regnetx_002").encoder == "tu-regnetx_002"


def load(spec: ModelSpec, folder: Path, normalisation: tuple | None = None) -> PretrainedInfo:
    return load_pretrained(
        build_model(spec), spec, channel=folder, baked=None, allow_hub=False, normalisation=normalisation
    )


class TestAFolderOfTheHub:
    """`model.safetensors` and `config.json`, as timm and segmentation-models-pytorch publish them."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        network = timm.create_model("tf_mobilenetv3_small_100")
        save_file(network.state_dict(), tmp_path / "model.safetensors")
        config = {"tag": "in1k", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
        content = {"architecture": "tf_mobilenetv3_small_100", "pretrained_cfg": config}
        (tmp_path / "config.json").write_text(json.dumps(content))
        return tmp_path

    def test_its_config_names_network_and_normalisation(self, folder: Path) -> None:
        info = load(classifier("tf_mobilenetv3_small_100"), folder)
        assert (info.mean, info.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        with pytest.raises(InputError, match="has the weights of tf_mobilenetv3_small_100"):
            load(classifier("mobilenetv3_small_100"), folder)

    def test_it_is_not_of_two_files(self, folder: Path) -> None:
        save_file({"a": torch.zeros(1)}, folder / "other.safetensors")
        assert read_weights(folder / "model.safetensors").made_for is None

    @pytest.mark.parametrize("content", ["{", "[]", '{"mean": 1}', '{"encoder_name": "resnet18"}'])
    def test_a_config_of_another_program_says_nothing(self, folder: Path, content: str) -> None:
        (folder / "config.json").write_text(content)
        found = read_weights(folder / "model.safetensors")
        assert (found.mean, found.std, found.made_for) == (None, None, None)


def test_what_the_job_states_comes_first(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet34").state_dict(), tmp_path / "resnet34.safetensors")
    assert load(classifier("resnet34"), tmp_path, INCEPTION).mean == INCEPTION[0]
    with pytest.raises(InputError, match="normalization=imagenet"):
        load(classifier("resnet34"), tmp_path)
    assert load(segmenter("resnet34"), tmp_path).mean == IMAGENET[0]
