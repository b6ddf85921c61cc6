from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders import encoders, get_encoder
from support.model_hub import model_hub

from byoc_vision.errors import ResourceError
from byoc_vision.models.build import build_model
from byoc_vision.models.hub import hub_weights, is_published
from byoc_vision.models.hub_download import NotOnHubError
from byoc_vision.models.names import canonical_spec
from byoc_vision.models.pretrained import load_pretrained
from byoc_vision.types import ModelSpec


def classifier(name: str) -> ModelSpec:
    return canonical_spec(ModelSpec(task="classification", architecture=name, outputs=5))


def segmenter(architecture: str, encoder: str | None = None) -> ModelSpec:
    return canonical_spec(ModelSpec(task="segmentation", architecture=architecture, encoder=encoder, outputs=1))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty caches, and a hub at an address where no server listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        yield tmp_path


def put(cache: Path, repository: str, revision: str, files: dict[str, str | dict[str, torch.Tensor]]) -> None:
    """Files as huggingface_hub keeps them."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123456789"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / revision).write_text("0123456789")
    for name, content in files.items():
        if isinstance(content, str):
            (snapshot / name).write_text(content)
        else:
            save_file(content, snapshot / name)


def test_timm_publishes_the_weights_of_classifiers(cache: Path) -> None:
    tensors = timm.create_model("mobilenetv3_small_050").state_dict()
    put(cache, "timm/mobilenetv3_small_050.lamb_in1k", "main", {"model.safetensors": tensors})
    weights = hub_weights(classifier("mobilenetv3_small_050"))
    assert re.fullmatch(r"timm/mobilenetv3_small_050\.lamb_in1k, commit 0123456789, SHA-256 \w{64}", weights.source)
    assert weights.mean == timm.get_pretrained_cfg("mobilenetv3_small_050").mean
    assert torch.equal(weights.tensors["classifier.weight"], tensors["classifier.weight"])


def test_timm_publishes_the_weights_of_its_encoders(cache: Path) -> None:
    tensors = timm.create_model("mobilenetv3_small_050").state_dict()
    put(cache, "timm/mobilenetv3_small_050.lamb_in1k", "main", {"model.safetensors": tensors})
    spec = segmenter("unet", "tu-mobilenetv3_small_050")
    info = load_pretrained(build_model(spec), spec, channel=None, baked=None, allow_hub=True)
    assert info.source.startswith("hub: timm/mobilenetv3_small_050.lamb_in1k, commit 0123456789, SHA-256 ")


def test_segmentation_models_pytorch_publishes_the_weights_of_its_encoders(cache: Path) -> None:
    settings = encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    tensors = get_encoder("mobilenet_v2", weights=None).state_dict()
    config = json.dumps({"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]})
    put(cache, settings["repo_id"], settings["revision"], {"model.safetensors": tensors, "config.json": config})
    spec = segmenter("unet", "mobilenet_v2")
    info = load_pretrained(build_model(spec), spec, channel=None, baked=None, allow_hub=True)
    assert info.source.startswith("hub: smp-hub/mobilenet_v2.imagenet, commit 0123456789, SHA-256 ")
    assert (info.mean, info.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_torchvision_publishes_the_weights_of_fcns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models.segmentation import FCN_ResNet50_Weights, fcn_resnet50

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / Path(FCN_ResNet50_Weights.DEFAULT.url).name
    file.parent.mkdir(parents=True)
    torch.save(fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True).state_dict(), file)
    spec = segmenter("fcn_resnet50")
    info = load_pretrained(build_model(spec), spec, channel=None, baked=None, allow_hub=True)
    assert info.source == f"hub: {FCN_ResNet50_Weights.DEFAULT.url}"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "spec", [classifier("resnet18"), segmenter("unet", "resnet18"), segmenter("unet", "tu-resnet18")]
)
def test_an_unreachable_hub_fails_fast_and_the_error_lists_three_remedies(spec: ModelSpec) -> None:
    with pytest.raises(
        ResourceError, match=r"127\.0\.0\.1 cannot be reached.*Three remedies: add a `pretrained` channel"
    ):
        load_pretrained(build_model(spec), spec, channel=None, baked=None, allow_hub=True)


def test_an_unreachable_proxy_fails_fast(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(NotOnHubError, match=r"hub\.example cannot be reached: .*refused"):
            hub_weights(classifier("resnet18"))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (classifier("legacy_senet154"), "timm has no weights of legacy_senet154 as safetensors"),
        (segmenter("unet_small"), "no library publishes weights of unet_small"),
    ],
)
def test_weights_that_no_library_publishes_are_not_requested(spec: ModelSpec, text: str) -> None:
    with pytest.raises(NotOnHubError, match=text):
        hub_weights(spec)


def test_a_pickle_is_read_only_if_that_is_allowed() -> None:
    with pytest.raises(NotOnHubError, match="torchvision publishes fcn_resnet50 as a pickle; pretrained=true reads it"):
        hub_weights(segmenter("fcn_resnet50"), pickles=False)


@pytest.mark.parametrize(
    ("spec", "published"),
    [
        (classifier("resnet18"), True),
        (classifier("legacy_senet154"), False),
        (segmenter("unet"), False),
        (segmenter("unet", "resnet18"), True),
        (segmenter("fpn", "tu-resnet18"), True),
        (segmenter("fcn_resnet50"), True),
    ],
)
def test_whether_weights_are_published(spec: ModelSpec, published: bool) -> None:
    assert is_published(spec) is published


def test_real_weights_come_from_a_hub(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_data / "weights"
    settings = encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    with model_hub(monkeypatch, tmp_path) as hub:
        hub.files = {
            "timm/mobilenetv2_100.ra_in1k/model.safetensors": (
                folder / "mobilenetv2_100.timm.safetensors"
            ).read_bytes(),
            f"{settings['repo_id']}/model.safetensors": (folder / "mobilenet_v2.torchvision.safetensors").read_bytes(),
            f"{settings['repo_id']}/config.json": b'{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}',
        }
        spec = classifier("mobilenetv2_100")
        info = load_pretrained(build_model(spec), spec, channel=None, baked=None, allow_hub=True)
        assert info.source.startswith(f"hub: timm/mobilenetv2_100.ra_in1k, commit {hub.commit}, SHA-256 ")
        spec = segmenter("unet", "mobilenet_v2")
        hub.commit = settings["revision"]
        info = load_pretrained(build_model(spec), spec, channel=None, baked=None, allow_hub=True)
        assert info.source.startswith(f"hub: {settings['repo_id']}, commit {settings['revision']}, SHA-256 ")
