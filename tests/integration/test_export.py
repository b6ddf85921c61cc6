"""`byoc-vision export` in each format: the example that it writes answers as `byoc-vision predict` does.

The artifacts are without OpenVINO's form, so that `predict` computes them with PyTorch in float32 on any CPU.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from support.archives import pack
from support.examples import answers_of, draw, run_example
from support.readme import REPOSITORY, commands
from support.tiny_models import classification_card, network, save, segmentation_card

from byoc_vision.cli import main
from byoc_vision.preprocess import Preprocess

LETTERBOX = Preprocess(height=32, width=48, resize="letterbox", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
COMMON = {"example.py", "preprocessing.json"}
FILES = {
    "onnx": {"model.onnx"},
    "openvino": {"model.xml", "model.bin"},
    "torchscript": {"model.pth", "model.tar.gz", "data-input-config.json"},
    "torch-export": {"model.pt2"},
}

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # example.py loads TorchScript


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = segmentation_card(LETTERBOX)
    return save(tmp_path_factory.mktemp("segmenter") / "model", config, network(config))


def same_masks(folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    draw(tmp_path / "picture.png", 70, 91)
    run_example(folder, [tmp_path / "picture.png", tmp_path / "mask.png"], monkeypatch)
    predict = ["predict", "--model", str(model), "--output", str(tmp_path / "answers"), str(tmp_path / "picture.png")]
    assert main(predict) == 0
    masks = [cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) for name in ("mask.png", "answers/picture.png")]
    assert set(np.unique(masks[0])) == {0, 100}
    return bool((masks[0] == masks[1]).mean() > 0.999)


@pytest.mark.parametrize("format_name", ["openvino", "torchscript", "torch-export"])
def test_a_segmenter(segmenter: Path, format_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "exported"
    assert main(["export", str(segmenter), "--format", format_name, "--output", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == COMMON | FILES[format_name]
    assert json.loads((folder / "preprocessing.json").read_text())["comparison"]["share"] < 1e-4
    assert same_masks(folder, segmenter, tmp_path, monkeypatch)
    if format_name == "torchscript":
        is_what_neo_takes(folder)


def test_the_readmes_commands(segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export, example = commands("Other runtimes", REPOSITORY / "docs" / "export.md")
    assert export.split()[0] == "byoc-vision"
    assert example == "python exported/example.py image.jpg mask.png"
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "model").symlink_to(segmenter)
    monkeypatch.chdir(tmp_path)
    assert main(export.split()[1:]) == 0
    assert {path.name for path in Path("exported").iterdir()} == COMMON | FILES["onnx"]
    assert same_masks(tmp_path / "exported", segmenter, tmp_path, monkeypatch)
    is_one_file_for_any_number_of_images(Path("exported/model.onnx"))


def is_one_file_for_any_number_of_images(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    [images] = model.graph.input
    dimensions = images.type.tensor_type.shape.dim
    assert images.name == "pictures"
    assert dimensions[0].dim_param == "batch"
    assert [dimension.dim_value for dimension in dimensions[1:]] == [32, 48, 3]
    assert b"/byoc_vision/" not in path.read_bytes(), "the place where it was made stays private"


def is_what_neo_takes(folder: Path) -> None:
    with tarfile.open(folder / "model.tar.gz", "r:gz") as tar:
        assert tar.getnames() == ["model.pth"]
        tar.extract("model.pth", folder / "unpacked", filter="data")
    shapes = json.loads((folder / "data-input-config.json").read_text())
    assert shapes == {"input0": [1, 3, 32, 48]}
    model = torch.jit.load(folder / "unpacked" / "model.pth")
    assert model(torch.full(shapes["input0"], 255.0)).shape == (1, 1, 32, 48)


def test_a_classifier_from_its_archive_to_the_default_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = classification_card(Preprocess(height=32, width=32, resize="short_side", short_side=36))
    save(tmp_path / "artifact", config, network(config))
    pack(tmp_path / "artifact", tmp_path / "model.tar.gz")
    image = tmp_path / "picture.png"
    draw(image, 70, 91)
    assert main(["export", str(tmp_path / "model.tar.gz"), "--format", "torch-export"]) == 0
    assert main(["predict", "--model", str(tmp_path / "artifact"), "--output", str(tmp_path), str(image)]) == 0
    capsys.readouterr()
    run_example(tmp_path / "model-torch-export", [image], monkeypatch)
    predicted = json.loads((tmp_path / "predictions.jsonl").read_text())["predictions"]
    printed = answers_of(capsys.readouterr().out)
    assert [name for name, _ in printed] == [entry["label"] for entry in predicted]
    np.testing.assert_allclose([p for _, p in printed], [entry["score"] for entry in predicted], atol=1e-4)


def test_an_unknown_format_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "model", "--format", "tflite"])
    assert ended.value.code == 2
    assert "'onnx', 'openvino', 'torchscript', 'torch-export'" in capsys.readouterr().err


def test_a_model_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["export", str(tmp_path / "nothing"), "--format", "onnx"]) == 3
    assert not list(tmp_path.iterdir())
