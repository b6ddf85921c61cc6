from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.encoders import get_encoder
from support.model_hub import model_hub
from support.modes import mode, umask

import byoc_vision.models.bake
from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.models.bake import bake, main
from byoc_vision.models.build import build_model
from byoc_vision.models.pretrained import load_pretrained
from byoc_vision.types import ModelSpec


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder docker/weights, with MobileNetV2 as two libraries call it."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "README.md").write_text("Put weights here.")
    save_file(timm.create_model("mobilenetv2_100").state_dict(), folder / "mobilenetv2_100.timm.safetensors")
    save_file(get_encoder("mobilenet_v2", weights=None).state_dict(), folder / "mobilenet_v2.safetensors")
    return folder


@pytest.fixture(scope="module")
def baked(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baked")
    written = bake(["MobileNet-V2"], folder, source)
    assert set(written) == set(folder.iterdir())
    return folder


def test_a_name_bakes_the_files_of_all_its_models(baked: Path) -> None:
    assert {path.name for path in baked.iterdir()} == {"mobilenetv2_100.safetensors", "mobilenet_v2.safetensors"}


def test_all_users_of_the_image_can_read_the_files(source: Path, tmp_path: Path) -> None:
    with umask(0o022):
        written = bake(["mobilenetv2_100"], tmp_path, source)
    assert {mode(path) for path in written} == {0o644}


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(task="classification", architecture="mobilenet_v2", outputs=3),
        ModelSpec(task="segmentation", architecture="unet", encoder="mobilenet_v2", outputs=3),
        ModelSpec(task="segmentation", architecture="fpn", encoder="tu-mobilenetv2_100", outputs=3),
    ],
)
def test_load_pretrained_finds_baked_weights(baked: Path, spec: ModelSpec) -> None:
    info = load_pretrained(build_model(spec), spec, channel=None, baked=baked, allow_hub=False)
    assert info.source.startswith("baked in the image:")


def test_a_name_can_be_a_file_and_keeps_its_mean(tmp_path: Path) -> None:
    path = tmp_path / "mobilenetv3_small_050.safetensors"
    tensors = timm.create_model("mobilenetv3_small_050").state_dict()
    save_file(tensors, path, {"mean": "0.1,0.2,0.3", "std": "0.4,0.5,0.6"})
    (written,) = bake([str(path)], tmp_path / "baked")
    assert written == tmp_path / "baked" / "mobilenetv3_small_050.safetensors"
    with safe_open(written, framework="pt") as file:
        assert file.metadata()["mean"] == "0.1,0.2,0.3"
    assert all(torch.equal(tensors[name], tensor) for name, tensor in load_file(written).items())


def test_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PRETRAINED=nonsense: no classifier, encoder or FCN has this name"):
        bake(["nonsense"], tmp_path)


def test_a_file_that_does_not_fit_its_name_is_an_error(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "resnet18.safetensors")
    with pytest.raises(DataError, match=r"resnet18\.safetensors does not fit resnet18: 0 of 100"):
        bake(["resnet18"], tmp_path / "baked", tmp_path)


def test_the_command_prints_what_it_wrote(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from", str(source), "--to", str(tmp_path / "baked"), "mobilenetv2_100"]) == 0
    assert "Baked" in capsys.readouterr().out


def test_the_command_exits_with_the_error_s_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--to", str(tmp_path / "baked"), "nonsense"]) == InputError.exit_code
    assert "Your input: PRETRAINED=nonsense" in capsys.readouterr().err


def test_without_names_the_build_goes_on_if_the_hub_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with model_hub(monkeypatch, tmp_path / "cache") as hub:
        assert main(["--to", str(tmp_path / "baked")]) == 0
        assert (
            "No default weights in this image: PRETRAINED=resnet18: the hub gave no weights" in capsys.readouterr().out
        )
        assert main(["--to", str(tmp_path / "baked"), "resnet18"]) == ResourceError.exit_code
        asked = len(hub.requests)
        assert main(["--to", str(tmp_path / "baked"), "none"]) == 0
        assert len(hub.requests) == asked
    assert list((tmp_path / "baked").iterdir()) == []


def test_without_names_a_default_set_comes_from_the_hub(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byoc_vision.models.bake, "DEFAULT_NAMES", ("mobilenetv2_100",))
    weights = (shared_data / "weights/mobilenetv2_100.timm.safetensors").read_bytes()
    with model_hub(monkeypatch, tmp_path / "cache") as hub:
        hub.files = {"timm/mobilenetv2_100.ra_in1k/model.safetensors": weights}
        assert main(["--to", str(tmp_path / "baked")]) == 0
    with safe_open(tmp_path / "baked/mobilenetv2_100.safetensors", framework="pt") as file:
        assert file.metadata()["source"].startswith(f"timm/mobilenetv2_100.ra_in1k, commit {hub.commit}, SHA-256 ")
