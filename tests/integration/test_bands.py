"""Images with four bands of 16 bits: from training over the artifact to evaluation, serving and export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.apps import client_of
from support.bands import draw_bands, tiff, write_band_scenes
from support.examples import run_example
from support.images import decode, encode, load_npy, npy, save_image
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.data.bands import read_pixels
from byoc_vision.inference.predictor import Classification, Predictor, Segmentation
from byoc_vision.paths import MlPaths

COMMON = {**QUICK, "batch_size": "4", "num_workers": "0", "precision": "float32", "image_size": "32"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> MlPaths:
    """A trained U-Net: only the fourth band shows what it looks for."""
    paths = MlPaths(tmp_path_factory.mktemp("scenes") / "ml")
    write_band_scenes(paths.channel("train"), 16)
    write_band_scenes(paths.channel("validation"), 4, first=16)
    write_hyperparameters(paths, COMMON | {"model": "unet_small", "epochs": "6", "learning_rate": "0.003"})
    assert run_train(paths) == 0
    return paths


def test_a_unet_learns_from_the_fourth_band(scenes: MlPaths) -> None:
    config, tensors = artifact.load(scenes.model)
    assert config.model.in_channels == config.preprocess.channels == 4
    assert tensors["stem.0.weight"].shape[1] == 4
    assert [round(band.low, -2) for band in config.preprocess.bands] == [300, 300, 300, 300]
    assert config.preprocess.bands[3].high > 2500 > 1000 > config.preprocess.bands[0].high
    assert read_metrics(scenes)["validation"]["dice"] > 0.9


def test_check_says_what_it_sees(scenes: MlPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "report.json"
    assert main(["check", str(scenes.channels), "--json", str(written)]) == 0
    said = capsys.readouterr()
    assert "images have 4 bands; each is stretched by its range" in said.out + said.err
    assert "(4 bands, 0–1)" in said.out + said.err
    assert len(json.loads(written.read_text(encoding="utf-8"))["channels"]["mean"]) == 4


def test_a_job_that_continues_keeps_the_ranges_of_the_model(
    scenes: MlPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its images are darker: ranges of their own would brighten them, unlike those that the weights know."""
    paths = MlPaths(tmp_path / "ml")
    write_band_scenes(paths.channel("train"), 8)
    for number, file in enumerate(sorted(paths.channel("train").rglob("*.tif"))):
        file.write_bytes(tiff(draw_bands(number)[0] // 2))
    shutil.copytree(scenes.model, paths.channel("model"))
    write_hyperparameters(paths, COMMON | {"model": "unet_small", "epochs": "1"})
    assert run_train(paths) == 0
    assert "The ranges of the bands are those of the model" in capsys.readouterr().out
    before, after = (artifact.load(folder)[0].preprocess for folder in (scenes.model, paths.model))
    assert (after.bands, after.mean, after.std) == (before.bands, before.mean, before.std)


def test_a_model_of_other_bands_does_not_continue(scenes: MlPaths, tmp_path: Path) -> None:
    paths = MlPaths(tmp_path / "ml")
    write_band_scenes(paths.channel("train"), 8, bands=5)
    shutil.copytree(scenes.model, paths.channel("model"))
    write_hyperparameters(paths, COMMON | {"model": "unet_small", "epochs": "1"})
    assert run_train(paths) == 2
    assert "a model of images with 4 bands, but the job's images have 5" in paths.failure.read_text(encoding="utf-8")


def test_the_predictor_and_the_server_agree(scenes: MlPaths) -> None:
    image, inside = draw_bands(99)
    predictor = Predictor.load(scenes.model, precision="float32")
    bands = predictor.config.preprocess.bands
    [prediction] = predictor.predict([read_pixels(tiff(image), bands)])
    assert isinstance(prediction, Segmentation)
    assert np.mean(prediction.mask == inside) > 0.95
    with client_of(scenes.root) as client:
        for body, content_type in (
            (tiff(image), "image/tiff"),
            (tiff(image, deflate=True, planar=True), "application/octet-stream"),
            (npy(image), "application/x-npy"),
            (npy(image.astype(np.float32)), "application/x-npy"),
            (json.dumps({"image": image.tolist()}).encode(), "application/json"),
        ):
            response = client.post("/invocations", data=body, content_type=content_type)
            assert response.status_code == 200, response.text
            assert np.mean(decode(response.data) == prediction.mask) > 0.99
        both = client.post(
            "/invocations",
            data=npy(np.stack([image, image])),
            content_type="application/x-npy",
            headers={"Accept": "application/x-npy"},
        )
        assert load_npy(both.data).shape == (2, 2, 32, 32)
        overlay = client.post(
            "/invocations", data=tiff(image), content_type="image/tiff", headers={"Accept": "image/png; view=overlay"}
        )
        assert decode(overlay.data).shape == (32, 32, 3)
        photograph = client.post("/invocations", data=encode(np.zeros((32, 32, 3), np.uint8)), content_type="image/png")
        assert photograph.status_code == 400
        assert "has 3 bands, and the model's images have 4" in photograph.text
        other = client.post("/invocations", data=npy(image[..., :3]), content_type="application/x-npy")
        assert (other.status_code, "send [H, W, 4] or [N, H, W, 4]" in other.text) == (400, True)


def test_a_folder_is_evaluated_and_predicted(scenes: MlPaths, tmp_path: Path) -> None:
    measured_in = tmp_path / "measured.json"
    folder = str(scenes.channel("validation"))
    assert main(["evaluate", str(scenes.model), folder, "--output", str(measured_in)]) == 0
    measured = json.loads(measured_in.read_text(encoding="utf-8"))
    assert measured["dice"] == pytest.approx(read_metrics(scenes)["validation"]["dice"], abs=1e-3)
    images = scenes.channel("validation") / "images"
    assert (
        main(["predict", "--model", str(scenes.model), "--output", str(tmp_path / "p"), "--overlay", str(images)]) == 0
    )
    assert len(list((tmp_path / "p").glob("*.overlay.png"))) == 4


def example_mask(folder: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What the example.py of an exported model makes of an array."""
    np.save(folder / "image.npy", image)
    run_example(folder, [folder / "image.npy", folder / "mask.png"], monkeypatch)
    return decode((folder / "mask.png").read_bytes())


def predicted_mask(paths: MlPaths, image: np.ndarray) -> np.ndarray:
    predictor = Predictor.load(paths.model, precision="float32")
    [prediction] = predictor.predict([read_pixels(tiff(image), predictor.config.preprocess.bands)])
    assert isinstance(prediction, Segmentation)
    return prediction.mask


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("form", ["onnx", "openvino", "torchscript"])
def test_exports_have_four_bands(scenes: MlPaths, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx" if form == "onnx" else "torch")
    assert main(["export", str(scenes.model), "--format", form, "--output", str(tmp_path / form)]) == 0
    about = json.loads((tmp_path / form / "preprocessing.json").read_text(encoding="utf-8"))
    assert 4 in about["input"]["shape"]
    assert len(about["input"]["bands"]) == 4
    image, _ = draw_bands(99, side=80)
    assert np.mean(example_mask(tmp_path / form, image, monkeypatch) == predicted_mask(scenes, image)) > 0.99


@pytest.mark.parametrize(
    "asked",
    [
        {"augmentation": "strong", "resize": "letterbox"},
        {"crop_size": "32", "random_scale": "2", "class_crops": "0.5"},
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # example.py loads TorchScript
def test_grey_images_of_16_bits_are_one_band(
    tmp_path: Path, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV drops the axis of a single band wherever it resizes or pads."""
    paths = MlPaths(tmp_path / "ml")
    for number in range(12):
        image, inside = draw_bands(number, bands=1, side=48)
        channel = paths.channel("train" if number < 8 else "validation")
        save_image(channel / f"images/{number}.png", image[:40, :, 0])
        save_image(channel / f"masks/{number}.png", inside[:40].astype(np.uint8))
    write_hyperparameters(paths, COMMON | {"model": "unet_small", "epochs": "1", "bands": "1", **asked})
    assert run_train(paths) == 0
    config, _ = artifact.load(paths.model)
    assert config.model.in_channels == 1
    image = draw_bands(77, bands=1, side=80)[0]
    with client_of(paths.root) as client:
        for options in ("", "?tile=auto"):
            response = client.post(f"/invocations{options}", data=tiff(image), content_type="image/tiff")
            assert response.status_code == 200, response.text
            assert decode(response.data).shape == (80, 80)
    folder = tmp_path / "exported"
    assert main(["export", str(paths.model), "--format", "torchscript", "--output", str(folder)]) == 0
    assert np.mean(example_mask(folder, image[..., 0], monkeypatch) == predicted_mask(paths, image)) > 0.99
    images = str(paths.channel("validation") / "images")
    assert main(["predict", "--model", str(paths.model), "--output", str(tmp_path / "p"), "--overlay", images]) == 0


def test_a_classifier_of_arrays_learns_from_the_fourth_band(tmp_path: Path) -> None:
    paths = MlPaths(tmp_path / "ml")
    for split, numbers in (("train", range(24)), ("validation", range(24, 32))):
        for number in numbers:
            image, inside = draw_bands(number)
            if number % 2:
                image[inside, -1] -= 2000
            file = paths.channel(split) / ("empty" if number % 2 else "field") / f"{number}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, image)
    asked = {
        "model": "resnet10t",
        "epochs": "4",
        "augmentation": "strong",
        "resize": "stretch",
        "learning_rate": "0.002",
    }
    write_hyperparameters(paths, COMMON | asked)
    assert run_train(paths) == 0
    assert read_metrics(paths)["validation"]["accuracy"] > 0.8
    image, _ = draw_bands(50)
    predictor = Predictor.load(paths.model, precision="float32")
    [prediction] = predictor.predict([read_pixels(npy(image), predictor.config.preprocess.bands)])
    assert isinstance(prediction, Classification)
    with client_of(paths.root) as client:
        for body, content_type in ((tiff(image), "image/tiff"), (npy(image), "application/x-npy")):
            response = client.post("/invocations", data=body, content_type=content_type)
            served = {entry["label"]: entry["score"] for entry in response.get_json()}
            for name, probability in prediction.ranked():
                assert served[name] == pytest.approx(probability, abs=0.02)
