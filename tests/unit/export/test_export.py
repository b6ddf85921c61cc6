"""What export refuses, and that a refusal leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.modes import mode, umask
from support.tiny_models import classification_card, network, save

from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.export import onnx, torchscript
from byoc_vision.export.export import check_room, default_output, export_model
from byoc_vision.preprocess import Preprocess

CARD = classification_card(Preprocess(height=32, width=32))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "model", CARD, network(CARD))


@pytest.mark.parametrize("name", ["model", "model.tar.gz", "model.tgz", "model.tar"])
def test_the_default_output_is_beside_the_model(tmp_path: Path, name: str) -> None:
    assert default_output(tmp_path / name, "onnx") == tmp_path / "model-onnx"


def test_an_unknown_format_is_an_error(model: Path) -> None:
    with pytest.raises(InputError, match="the format tflite is not known; use one of onnx, openvino, torchscript"):
        export_model(model, "tflite")


def test_an_output_that_is_not_empty_is_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        export_model(model, "torchscript", model)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; name a new folder"):
        export_model(model, "torchscript", tmp_path / "file")


def test_the_umask_sets_the_file_modes(model: Path, tmp_path: Path) -> None:
    with umask(0o027):
        export_model(model, "torchscript", tmp_path / "out")
    assert mode(tmp_path / "out") == 0o750
    assert {mode(path) for path in (tmp_path / "out").iterdir()} == {0o640}


def test_a_damaged_model_is_an_error(model: Path, tmp_path: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        export_model(model, "torchscript", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_an_error(tmp_path: Path) -> None:
    other = classification_card(CARD.preprocess, name="test_vit")
    model = save(tmp_path / "model", CARD, network(other))
    with pytest.raises(DataError, match=r"the weights do not fit the model in model\.json"):
        export_model(model, "torchscript")


def test_the_error_for_a_full_disk_names_the_space_needed(tmp_path: Path) -> None:
    check_room(tmp_path, 1)
    with pytest.raises(ResourceError, match=r"MB free, and the export needs 1,000,000,000,000 MB; free space"):
        check_room(tmp_path, 10**18)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        export_model(model, "torchscript", tmp_path / "locked" / "out")


def test_an_output_below_a_file_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        export_model(model, "torchscript", tmp_path / "file" / "out")


def test_different_predictions_are_an_error_and_leave_no_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = torchscript.load

    def load_and_spoil(folder: Path) -> onnx.Run:
        run = load(folder)
        return lambda images: run(images) + np.float32(0.5)

    monkeypatch.setattr(torchscript, "load", load_and_spoil)
    with pytest.raises(
        InputError, match=r"torchscript model's predictions differ .* difference of its logits is 0\.5 .*'clouds'"
    ):
        export_model(model, "torchscript", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_error_for_a_missing_package_says_how_to_install_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = onnx.importlib.util.find_spec
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(InputError, match=r"onnx needs onnxscript: pip install 'byoc-vision\[export\]'"):
        export_model(model, "onnx", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
