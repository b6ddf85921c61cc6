"""`byoc-vision predict` answers what the server answers, whatever is asked for."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from flask.testing import FlaskClient
from support.engines import FLOAT32, openvino_name
from support.images import decode, encode
from support.servers import save_segmenter, save_tagger

from byoc_serve.settings import Settings
from byoc_vision.cli import main
from byoc_vision.inference.files import predict_files
from byoc_vision.inference.options import LARGEST_TILE, VIEWS, parse_threshold, parse_tile
from byoc_vision.inference.passes import InferenceOptions
from byoc_vision.inference.predictor import Predictor
from byoc_vision.inference.tta import view_axes
from byoc_vision.system.machine import has_bfloat16

Serve = Callable[[Predictor, Settings], FlaskClient]

LOOKS = [
    InferenceOptions(),
    InferenceOptions(threshold=0.42),
    InferenceOptions("auto", "flip", 0.51),
    InferenceOptions(48, "flips"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cars`, masks of two classes, and `tags`, of which an image has several; random weights."""
    folder = tmp_path_factory.mktemp("models")
    save_segmenter(folder / "cars", size=32)
    save_tagger(folder / "tags")
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    coarse = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    path.write_bytes(encode(coarse.repeat(10, axis=0).repeat(10, axis=1)))
    return path


def query(options: InferenceOptions) -> str:
    wishes = {"tile": options.tile, "tta": options.views, "threshold": options.threshold}
    return urlencode({name: value for name, value in wishes.items() if value is not None})


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("options", LOOKS, ids=query)
def test_masks(models: Path, photo: Path, tmp_path: Path, serve: Serve, options: InferenceOptions) -> None:
    predictor = Predictor.load(models / "cars", device="cpu")
    client = serve(predictor, Settings())

    def served(accept: str) -> bytes:
        url = f"/invocations?{query(options)}"
        return client.post(url, data=photo.read_bytes(), content_type="image/png", headers={"Accept": accept}).data

    (outcome,) = predict_files(predictor, [photo], tmp_path, overlay=True, options=options)
    assert outcome.written == tmp_path / "photo.png"
    mask = decode(outcome.written.read_bytes())
    assert len(np.unique(mask)) == 2, "or the test would show little"
    np.testing.assert_array_equal(mask, decode(served("image/png")))
    overlay = decode((tmp_path / "photo.overlay.png").read_bytes())
    np.testing.assert_array_equal(overlay, decode(served("image/png; view=overlay")))
    answer = client.post(
        f"/invocations?{query(options)}", data=photo.read_bytes(), headers={"Accept": "application/json"}
    )
    (row,) = rows(tmp_path)
    assert row == {"file": str(photo), "mask": "photo.png"} | {
        f"share {entry['label']}": str(entry["share"]) for entry in answer.get_json()["classes"]
    }


def test_the_command_passes_its_options_on(models: Path, photo: Path, tmp_path: Path) -> None:
    options = InferenceOptions("auto", "flip", 0.51)
    said = ["--tile", "auto", "--tta", "flip", "--threshold", "0.51", "--overlay"]
    assert (
        main(["predict", "--model", str(models / "cars"), "--output", str(tmp_path / "said"), *said, str(photo)]) == 0
    )
    list(predict_files(Predictor.load(models / "cars"), [photo], tmp_path / "meant", overlay=True, options=options))
    for name in ("photo.png", "photo.overlay.png", "predictions.csv"):
        assert (tmp_path / "said" / name).read_bytes() == (tmp_path / "meant" / name).read_bytes()


@pytest.mark.parametrize(
    ("said", "measured"),
    [([], True), (["--precision", "auto"], True), (["--precision", "float32"], False)],
    ids=["default", "auto", "float32"],
)
def test_the_precision_is_measured_unless_it_is_named(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], said: list[str], measured: bool
) -> None:
    save_segmenter(tmp_path / "model", size=32, for_cpus=True)
    command = ["predict", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out"), *said, str(photo)]
    assert main(command) == 0
    can = has_bfloat16() and openvino_name(tmp_path / "model", "bfloat16") != FLOAT32
    assert ("ms per image; " in capsys.readouterr().out) == (measured and can)


def test_a_model_that_has_no_tiles_says_so(
    models: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", "--model", str(models / "tags"), "--output", str(tmp_path / "out"), "--tile", "64"]
    assert main([*command, str(photo)]) == 2
    assert "remove tile" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["--tile", "7"], f"'7' is neither auto nor a number of pixels from 32 to {LARGEST_TILE}"),
        (["--threshold", "1.5"], "'1.5' is not a number between 0 and 1"),
        (["--tta", "rotate"], "invalid choice: 'rotate'"),
        (["--precision", "float16"], "invalid choice: 'float16'"),
    ],
)
def test_an_invalid_value_is_an_error_that_names_the_valid_ones(
    said: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--model", "model", "--output", "out", *said, "picture.jpg"])
    assert message in capsys.readouterr().err


def test_texts_and_views_are_those_of_the_passes() -> None:
    assert (parse_tile("auto"), parse_tile("64"), parse_threshold(".25")) == ("auto", 64, 0.25)
    assert [len(view_axes(view)) for view in VIEWS] == [1, 2, 4]
