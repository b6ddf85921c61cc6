"""`byoc-vision evaluate` and `explain` on a folder, as people call them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import tiny_models
from support.engines import FLOAT32, openvino_name
from support.images import draw_scene, save_image

from byoc_vision.cli import main
from byoc_vision.inference import openvino_model
from byoc_vision.preprocess import Preprocess
from byoc_vision.report.record import read_record

RULE = Preprocess(height=64, width=64)
NAMES = ("coat", "dress", "hat & scarf")  # those of tiny_models


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny_models.classification_card(RULE)
    return tiny_models.save(tmp_path_factory.mktemp("model"), config, tiny_models.network(config))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for index in range(6):
        save_image(tmp_path / "data" / NAMES[index % 3] / f"{index}.png", draw_scene(index)[0])
    return tmp_path / "data"


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """The figures, which come after what the log says."""
    text = capsys.readouterr().out
    figures: dict[str, float] = json.loads(text[text.index("{\n") :])
    return figures


def test_a_folder_gets_the_report_of_a_job(
    classifier: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["evaluate", str(classifier), str(images), "--output", str(out)]) == 0
    figures = printed(capsys)
    record = read_record(out)
    assert (record.state, record.epochs, record.images, record.objective) == (
        "finished",
        [],
        {"test": 6},
        "test:accuracy",
    )
    assert record.test == figures
    assert record.run.parameters > 1000
    (evaluation,) = record.evaluations
    shown = [example for gallery in evaluation.galleries.values() for example in gallery]
    assert {example.file.partition("/")[0] for example in shown} <= set(NAMES)
    assert all((out / "pictures" / example.image).is_file() for example in shown)
    assert len((out / "predictions.csv").read_text().splitlines()) == 7
    assert len((out / "confusion_matrix.csv").read_text().splitlines()) == 4
    assert "hat &amp; scarf" in (out / "report.html").read_text()


def test_the_metrics_alone_and_the_older_spelling(
    classifier: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    assert main(["evaluate", "--model", str(classifier), "--data", str(images), "--output", str(out)]) == 0
    assert json.loads(out.read_text()) == printed(capsys)


def test_the_metrics_are_in_float32_unless_another_precision_is_named(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_models.classification_card(RULE)
    model = tiny_models.save(tmp_path / "model", config, tiny_models.network(config))
    openvino_model.write(model, config, tiny_models.network(config))
    for said, name in (([], FLOAT32), (["--precision", "bfloat16"], openvino_name(model, "bfloat16"))):
        out = tmp_path / f"out{len(said)}"
        assert main(["evaluate", str(model), str(images), "--output", str(out), *said]) == 0
        assert read_record(out).run.precision == name
    assert "per image" not in capsys.readouterr().out


@pytest.mark.parametrize("asked", [[], ["MODEL"], ["MODEL", "DATA", "MORE"], ["--model", "MODEL"]])
def test_missing_and_extra_arguments_are_reported(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *asked]) == 2
    assert "byoc-vision evaluate MODEL DATA" in capsys.readouterr().out


def test_images_are_explained(
    classifier: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["explain", "--model", str(classifier), "--output", str(tmp_path / "out"), "--class", "dress"]
    assert main([*asked, str(images)]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{index}.explained.jpg" for index in range(6)}
    assert capsys.readouterr().out.count(": dress ") == 6


def test_masks_are_not_explained(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_models.segmentation_card(RULE)
    model = tiny_models.save(tmp_path / "model", config, tiny_models.network(config))
    assert main(["explain", "--model", str(model), "--output", str(tmp_path / "out"), str(images)]) == 2
    assert "predict --overlay" in capsys.readouterr().out


def test_masks_of_another_foreground_value_are_measured_in_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_models.segmentation_card(RULE)
    model = tiny_models.save(tmp_path / "model", config, tiny_models.network(config))
    (metrics,) = {
        json.dumps(_measured(model, _masked(tmp_path / str(value), value), capsys)) for value in (100, 1, 255)
    }
    assert json.loads(metrics)["dice"] > 0


def test_masks_of_two_foreground_values_are_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_models.segmentation_card(RULE)
    model = tiny_models.save(tmp_path / "model", config, tiny_models.network(config))
    data = _masked(tmp_path / "data", 100, 7)
    assert main(["evaluate", str(model), str(data)]) == 3
    assert "1.png: 7" in capsys.readouterr().out
    assert _measured(model, data, capsys, "--ignore-index", "7")["dice"] >= 0


def _masked(folder: Path, *values: int) -> Path:
    for index in range(4):
        image, mask = draw_scene(index)
        save_image(folder / "images" / f"{index}.png", image)
        save_image(folder / "masks" / f"{index}.png", (mask > 0) * np.uint8(values[index % len(values)]))
    return folder


def _measured(model: Path, data: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, float]:
    assert main(["evaluate", str(model), str(data), *options]) == 0
    return printed(capsys)
