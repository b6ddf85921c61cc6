"""The script beside an exported model predicts what the Predictor predicts in float32, for every model config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.examples import answers_of, draw, run_example
from support.tiny_models import classification_card, network, save, segmentation_card

from byoc_vision.artifact import ModelConfig
from byoc_vision.export import example_script, preprocessing, torchscript
from byoc_vision.export.comparison import Comparison
from byoc_vision.inference.predictor import Classification, Predictor, Segmentation
from byoc_vision.preprocess import Preprocess

STRETCH = Preprocess(height=32, width=48)
PER_AXIS = Preprocess(height=32, width=48, per_axis=True)
LETTERBOX = Preprocess(height=32, width=48, resize="letterbox")
SIZES = ((70, 91), (20, 31), (200, 30))  # larger, smaller, and both
SEEN = Comparison(0.0, 1.0, "black", 1)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # example.py loads TorchScript


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModelConfig], Path]:
    """A card's folder, as `export` writes it, and in `artifact` the artifact. Each network is traced once."""
    networks: dict[tuple[str, int], Path] = {}

    def make(config: ModelConfig) -> Path:
        key = config.model.architecture, config.model.outputs
        if key not in networks:
            networks[key] = tmp_path_factory.mktemp("network")
            torchscript.write(network(config), config, networks[key])
        folder = tmp_path_factory.mktemp("exported")
        shutil.copy(networks[key] / torchscript.FILE, folder)
        about = preprocessing.describe(config, "torchscript", torchscript.FILE, {}, SEEN)
        (folder / preprocessing.FILE).write_text(json.dumps(about))
        (folder / example_script.FILE).write_text(example_script.example_script(config, "torchscript"))
        save(folder / "artifact", config, network(config))
        return folder

    return make


@pytest.mark.parametrize(
    "config",
    [
        segmentation_card(STRETCH, threshold=0.3),
        segmentation_card(STRETCH, threshold=0.3).model_copy(update={"min_area": 0.02}),
        segmentation_card(PER_AXIS),
        segmentation_card(LETTERBOX, outputs=3),
    ],
    ids=["threshold", "small parts", "per axis", "letterbox, softmax"],
)
def test_masks(
    config: ModelConfig, exported: Callable[[ModelConfig], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(config)
    predictor = Predictor.load(folder / "artifact", "cpu", precision="float32")
    for size in SIZES:
        rgb = draw(tmp_path / "picture.png", *size)
        run_example(folder, [tmp_path / "picture.png", tmp_path / "mask.png"], monkeypatch)
        mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
        answer = predictor.predict([rgb])[0]
        assert isinstance(answer, Segmentation)
        assert len(np.unique(mask)) > 1
        assert (mask == answer.mask).mean() > 0.999


@pytest.mark.parametrize(
    "config",
    [
        classification_card(LETTERBOX),
        classification_card(Preprocess(height=32, width=48, resize="short_side"), multi_label=True),
        classification_card(Preprocess(height=32, width=48, resize="short_side", short_side=56)),
    ],
    ids=["letterbox", "short_side, several labels", "short_side=56"],
)
def test_probabilities(
    config: ModelConfig,
    exported: Callable[[ModelConfig], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = exported(config)
    predictor = Predictor.load(folder / "artifact", "cpu", precision="float32")
    for size in SIZES:
        rgb = draw(tmp_path / "picture.png", *size)
        run_example(folder, [tmp_path / "picture.png"], monkeypatch)
        printed = answers_of(capsys.readouterr().out)
        answer = predictor.predict([rgb])[0]
        assert isinstance(answer, Classification)
        assert [name for name, _ in printed] == [name for name, _ in answer.ranked()]
        np.testing.assert_allclose([p for _, p in printed], [p for _, p in answer.ranked()], atol=1e-4)


def test_the_error_names_a_file_that_is_not_an_image(
    exported: Callable[[ModelConfig], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(SystemExit, match=r"notes\.txt is not an image that OpenCV can read"):
        run_example(exported(classification_card(STRETCH)), [tmp_path / "notes.txt"], monkeypatch)
