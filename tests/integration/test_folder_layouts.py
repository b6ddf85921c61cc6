"""From the data sets of this field, in exactly their original's shape, through `train` to a served answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from support.datasets import (
    camvid_tree,
    carvana_strays,
    carvana_tree,
    class_folders_tree,
    oxford_pets_tree,
    polyvore_tree,
    semantic_segmentation_tree,
)
from support.images import decode
from support.jobs import QUICK, read_metrics, write_hyperparameters
from support.servers import fork

from byoc_serve.app import create_app
from byoc_serve.loader import Loader
from byoc_serve.model_service import ModelService
from byoc_serve.readiness import Readiness, State
from byoc_serve.settings import Settings
from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.evaluation.evaluator import evaluate_folder
from byoc_vision.inference.predictor import Predictor
from byoc_vision.paths import MlPaths
from byoc_vision.training.main import train_job

READY_LIMIT = 60.0  # seconds
SMALL = {**QUICK, "image_size": "32", "batch_size": "4", "epochs": "1", "num_workers": "0"}
SEGMENTER, CLASSIFIER = "unet_small", "resnet10t"
LABEL_MAP = {"map": {"0": 60, "1": 120, "2": 180}}

Trained = Callable[..., MlPaths]


def lay_out(root: Path, channels: Mapping[str, Path], hyperparameters: Mapping[str, str]) -> MlPaths:
    paths = MlPaths(root)
    paths.channels.mkdir(parents=True)
    for name, source in channels.items():
        paths.channel(name).symlink_to(source)
    write_hyperparameters(paths, SMALL | dict(hyperparameters))
    return paths


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    """A job on a tree as its channel `train`, that has ended well."""

    def train(tree: Path, model: str, **hyperparameters: str) -> MlPaths:
        paths = lay_out(tmp_path / "ml", {"train": tree}, {"model": model} | hyperparameters)
        assert train_job(paths) == 0, paths.failure.read_text()
        return paths

    return train


@contextmanager
def serving(paths: MlPaths) -> Iterator[FlaskClient]:
    """The app around the model that the job has left."""
    settings = Settings()
    loader = Loader(lambda: ModelService(Predictor.load(paths.model), settings), Readiness())
    loader.start()
    try:
        assert loader.wait(READY_LIMIT) is State.READY
        yield create_app(settings, loader).test_client()
    finally:
        loader.stop()


def ask_mask(paths: MlPaths, image: Path) -> np.ndarray:
    with serving(paths) as client:
        answer = client.post("/invocations", data=image.read_bytes(), headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    return decode(answer.data)


def ask_labels(paths: MlPaths, image: Path) -> set[str]:
    """The classes that the answer ranks."""
    with serving(paths) as client:
        answer = client.post("/invocations", data=image.read_bytes(), headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    return {entry["label"] for entry in answer.get_json()}


def config(paths: MlPaths) -> ModelConfig:
    return artifact.load(paths.model)[0]


def values(mask: np.ndarray) -> set[int]:
    return set(np.unique(mask).tolist())


def test_carvana(tmp_path: Path, trained: Trained) -> None:
    """All that Kaggle's files unpack to, in one channel, and asked through HTTP."""
    tree = carvana_strays(carvana_tree(tmp_path / "carvana", cars=4, views=3))
    paths = trained(tree, SEGMENTER, openvino="true")
    assert [(entry.name, entry.value) for entry in config(paths).classes] == [("background", 0), ("foreground", 1)]
    assert read_metrics(paths).get("test") is None
    image = min((tree / "test").iterdir())
    with fork(paths.root, tmp_path / "server.log") as server:
        server.pings_until(200)
        answer = server.post(image.read_bytes(), "image/jpeg", Accept="image/png")
    assert answer.status_code == 200, answer.text
    mask = decode(answer.content)
    assert mask.shape == (32, 48)
    assert values(mask) <= {0, 1}


@pytest.mark.parametrize(
    ("border", "names"), [("ignore", ("background", "pet")), ("class", ("background", "pet", "border"))]
)
def test_oxford_pets_by_pixel(tmp_path: Path, trained: Trained, border: str, names: tuple[str, ...]) -> None:
    tree = oxford_pets_tree(tmp_path / "pets", trainval=4, test=1)
    paths = trained(tree, SEGMENTER, trimap_border=border)
    assert config(paths).class_names == names
    assert "dice" in read_metrics(paths)["test"]
    mask = ask_mask(paths, tree / "images/Bengal_3.jpg")  # a GIF by content
    assert mask.shape == (36, 40)
    assert values(mask) <= set(range(len(names)))
    measured = evaluate_folder(paths.model, tree)
    assert measured["dice"] == pytest.approx(read_metrics(paths)["test"]["dice"], abs=1e-6)


def test_oxford_pets_by_breed(tmp_path: Path, trained: Trained) -> None:
    tree = oxford_pets_tree(tmp_path / "outer/oxford-iiit-pet", trainval=4, test=1).parent
    paths = trained(tree, CLASSIFIER, task="classification")
    assert config(paths).class_names == ("Abyssinian", "american bulldog", "Bengal", "yorkshire terrier")
    assert "accuracy" in read_metrics(paths)["test"]
    assert ask_labels(paths, tree / "oxford-iiit-pet/images/yorkshire_terrier_1.jpg") == set(config(paths).class_names)


def test_dog_breeds(tmp_path: Path, trained: Trained) -> None:
    tree = class_folders_tree(tmp_path / "dogs")
    paths = trained(tree, CLASSIFIER)
    assert config(paths).class_names == ("Affenpinscher", "Afghan_hound", "Airedale_terrier")
    assert "accuracy" in read_metrics(paths)["test"]
    assert ask_labels(paths, min((tree / "test/002.Afghan_hound").iterdir())) == set(config(paths).class_names)
    measured = evaluate_folder(paths.model, tree / "test")
    assert measured["accuracy"] == pytest.approx(read_metrics(paths)["test"]["accuracy"])


def test_polyvore(tmp_path: Path, trained: Trained) -> None:
    tree = polyvore_tree(tmp_path / "polyvore")
    paths = trained(tree, CLASSIFIER, min_class_count="3")
    assert config(paths).class_names == ("Dresses", "Coats & Jackets", "Shoes")
    assert "accuracy" in read_metrics(paths)["test"]
    assert ask_labels(paths, min((tree / "images").glob("*/2.jpg"))) == set(config(paths).class_names)


def test_camvid(tmp_path: Path, trained: Trained) -> None:
    tree = camvid_tree(tmp_path / "CamVid")
    paths = trained(tree, SEGMENTER)
    assert (config(paths).class_names[0], config(paths).class_names[10]) == ("sky", "bicyclist")
    assert "miou" in read_metrics(paths)["test"]
    mask = ask_mask(paths, min((tree / "test").iterdir()))
    assert mask.shape == (32, 48)
    assert values(mask) <= set(range(11))  # void is not a prediction


def test_the_builtin_semantic_segmentation(tmp_path: Path) -> None:
    """Its answers hold training labels, and a folder is measured through the label map beside it."""
    tree = semantic_segmentation_tree(tmp_path / "streets", LABEL_MAP, (60, 180, 255))
    channels = {path.name: path for path in tree.iterdir()}
    paths = lay_out(tmp_path / "ml", channels, {"model": SEGMENTER, "num_classes": "3", "epochs": "2"})
    assert train_job(paths) == 0, paths.failure.read_text()
    assert [entry.value for entry in config(paths).classes] == [0, 1, 2]
    assert values(ask_mask(paths, tree / "validation/street_0.jpg")) <= {0, 1, 2}
    measured = evaluate_folder(paths.model, tree / "validation")
    assert measured["miou"] == pytest.approx(read_metrics(paths)["validation"]["miou"], abs=1e-6)


def test_a_label_map_of_the_wrong_direction(tmp_path: Path) -> None:
    turned = {"map": {"60": 0, "120": 1, "180": 2}}
    tree = semantic_segmentation_tree(tmp_path / "streets", turned, (60, 180, 255))
    paths = lay_out(tmp_path / "ml", {path.name: path for path in tree.iterdir()}, {"model": SEGMENTER})
    assert train_job(paths) == 3
    failure = paths.failure.read_text()
    assert "street_0.png holds the values 60, 180" in failure
    assert "label_map/train_label_map.json does not contain" in failure
    assert "inverted: its keys are the training labels, its values the pixel values" in failure


def test_a_mask_with_two_frames(tmp_path: Path) -> None:
    tree = carvana_tree(tmp_path / "carvana")
    mask = min((tree / "train_masks").iterdir())
    one, other = (Image.fromarray(np.full((32, 48), value, np.uint8)) for value in (0, 255))
    one.save(mask, "GIF", save_all=True, append_images=[other])
    paths = lay_out(tmp_path / "ml", {"train": tree}, {"model": SEGMENTER})
    assert train_job(paths) == 3
    assert f"{mask.name} has several frames; a mask has one" in paths.failure.read_text()


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    tree = carvana_tree(tmp_path / "carvana")
    image = min((tree / "train").iterdir())
    image.with_suffix(".png").write_bytes(image.read_bytes())
    paths = lay_out(tmp_path / "ml", {"train": tree}, {"model": SEGMENTER})
    assert train_job(paths) == 3
    failure = paths.failure.read_text()
    assert "has images that differ only in the ending; keep one of each" in failure
    assert f"{image.name} and {image.stem}.png" in failure
