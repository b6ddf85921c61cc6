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
def test_the_default_output_lies_beside_the_model(tmp_path: Path, name: str) -> None:
    assert default_output(tmp_path / name, "onnx") == tmp_path / "model-onnx"


def test_a_format_that_is_not_known(model: Path) -> None:
    with pytest.raises(InputError, match="the format tflite is not known; take one of onnx, openvino, torchscript"):
        export_model(model, "tflite")


def test_an_output_that_holds_something(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        export_model(model, "torchscript", model)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; name a new folder"):
        export_model(model, "torchscript", tmp_path / "file")


def test_its_modes_are_those_that_the_umask_gives(model: Path, tmp_path: Path) -> None:
    with umask(0o027):
        export_model(model, "torchscript", tmp_path / "out")
    assert mode(tmp_path / "out") == 0o750
    assert {mode(path) for path in (tmp_path / "out").iterdir()} == {0o640}


def test_a_damaged_model(model: Path, tmp_path: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        export_model(model, "torchscript", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network(tmp_path: Path) -> None:
    other = classification_card(CARD.preprocess, name="test_vit")
    model = save(tmp_path / "model", CARD, network(other))
    with pytest.raises(DataError, match="the weights do not fit the model its card names"):
        export_model(model, "torchscript")


def test_a_disk_without_room_is_named_with_what_is_needed(tmp_path: Path) -> None:
    check_room(tmp_path, 1)
    with pytest.raises(ResourceError, match=r"MB free, and the export takes 1,000,000,000,000 MB; make room"):
        check_room(tmp_path, 10**18)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(model: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        export_model(model, "torchscript", tmp_path / "locked" / "out")


def test_an_output_below_a_file(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        export_model(model, "torchscript", tmp_path / "file" / "out")


def test_answers_that_differ_are_refused_and_the_file_is_gone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = torchscript.load

    def load_and_spoil(folder: Path) -> onnx.Run:
        run = load(folder)
        return lambda images: run(images) + np.float32(0.5)

    monkeypatch.setattr(torchscript, "load", load_and_spoil)
    with pytest.raises(InputError, match=r"torchscript model answers otherwise .* off by 0\.5 at the most .*'clouds'"):
        export_model(model, "torchscript", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_package_that_is_missing_is_named_with_what_installs_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = onnx.importlib.util.find_spec
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(InputError, match=r"onnx needs onnxscript: pip install 'byoc-vision\[export\]'"):
        export_model(model, "onnx", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
