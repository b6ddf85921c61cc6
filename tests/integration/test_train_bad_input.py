"""What is wrong with a job is said before the first epoch: the file or the field, and the remedy."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.jobs import run_train, write_hyperparameters

from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.paths import MlPaths


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    make_segmentation_set(folder / "segmentation", count_train=6, count_validation=2, size=64)
    make_classification_set(folder / "classification", count_train=12, count_validation=4, size=32)
    return folder


@pytest.fixture
def scenes(drawn: Path, tmp_path: Path) -> MlPaths:
    return lay_out(drawn / "segmentation", tmp_path)


@pytest.fixture
def shapes(drawn: Path, tmp_path: Path) -> MlPaths:
    return lay_out(drawn / "classification", tmp_path)


def lay_out(images: Path, folder: Path) -> MlPaths:
    paths = MlPaths(folder / "ml")
    shutil.copytree(images, paths.channels)
    ask(paths, epochs="1", image_size="32")
    return paths


def ask(paths: MlPaths, **hyperparameters: str) -> None:
    write_hyperparameters(paths, hyperparameters)


def refusal(paths: MlPaths, status: int) -> str:
    """Train, expect the exit status, and return what the failure file says."""
    assert run_train(paths) == status
    assert not paths.model.exists(), "the job must end before it trains"
    return paths.failure.read_text(encoding="utf-8")


def first(folder: Path) -> Path:
    return min(path for path in folder.rglob("*") if path.is_file())


Spoil = Callable[[MlPaths], object]


def write_mask(paths: MlPaths, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path = first(paths.channel("train_annotation"))
    cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


BAD_SCENES: dict[str, tuple[Spoil, str]] = {
    "an image without a mask": (
        lambda paths: first(paths.channel("train_annotation")).unlink(),
        r"image without a mask",
    ),
    "a mask of another size": (lambda paths: write_mask(paths, lambda mask: mask[:-4]), r"pixels, its image"),
    "a truncated JPEG": (
        lambda paths: first(paths.channel("train")).write_bytes(first(paths.channel("train")).read_bytes()[:-300]),
        r"\.jpg",
    ),
    "a text file named .png": (
        lambda paths: first(paths.channel("train_annotation")).write_text("not an image"),
        r"\.png",
    ),
    "an empty image": (lambda paths: first(paths.channel("validation")).write_bytes(b""), r"\.jpg"),
}


@pytest.mark.parametrize("case", BAD_SCENES)
def test_bad_images_and_masks(scenes: MlPaths, case: str) -> None:
    spoil, said = BAD_SCENES[case]
    name = first(scenes.channel("validation" if case == "an empty image" else "train")).stem
    spoil(scenes)
    failure = refusal(scenes, 3)
    assert failure.startswith("Your data: ")
    assert re.search(said, failure)
    assert name in failure


@pytest.mark.parametrize("channel", ["train", "train_annotation", "validation"])
def test_an_empty_file_among_those_that_are_not_read(scenes: MlPaths, channel: str) -> None:
    empty = max(scenes.channel(channel).iterdir())
    empty.write_bytes(b"")
    ask(scenes, epochs="1", image_size="32", checked_pictures="1")
    failure = refusal(scenes, 3)
    assert f"{empty} is not a JPEG" in failure
    report = json.loads((scenes.output_data / "preflight.json").read_text())
    assert str(empty) in report["errors"][0], "before the first epoch"


def test_mask_folders_of_the_wrong_stems(scenes: MlPaths) -> None:
    for mask in sorted(scenes.channel("train_annotation").iterdir()):
        mask.rename(mask.with_name(f"left-{mask.name}"))
    failure = refusal(scenes, 3)
    assert "6 of 6 images" in failure
    assert "mask without an image: left-" in failure


def test_label_values_above_num_classes(scenes: MlPaths) -> None:
    write_mask(scenes, lambda mask: np.where(mask > 0, 7, 0).astype(np.uint8))
    ask(scenes, epochs="1", image_size="32", num_classes="2")
    failure = refusal(scenes, 3)
    assert "num_classes is 2" in failure
    assert "7" in failure


def test_a_missing_train_channel(scenes: MlPaths) -> None:
    shutil.rmtree(scenes.channel("train"))
    assert "train" in refusal(scenes, 2).splitlines()[0]


def test_an_empty_class_folder(shapes: MlPaths) -> None:
    (shapes.channel("train") / "zebra").mkdir()
    assert "zebra: the class folder is empty" in refusal(shapes, 3)


def test_a_class_in_validation_alone(shapes: MlPaths) -> None:
    folder = shapes.channel("validation") / "zebra"
    shutil.copytree(next(shapes.channel("validation").iterdir()), folder)
    assert "no class 'zebra'" in refusal(shapes, 3)


def test_hyperparameters_that_are_not_json(shapes: MlPaths) -> None:
    shapes.hyperparameters.write_text("epochs: 3")
    assert refusal(shapes, 2).startswith("Your input: ")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"epoch": "3"}, "did you mean epochs?"),
        ({"model": "resnet19"}, "resnet18"),
        ({"model": "unet"}, "unet"),
        ({"encoder": "resnet18"}, "encoder"),
        ({"task": "segmentation"}, "task is segmentation, but the data are class folders"),
        ({"num_classes": "99"}, "num_classes is 99"),
        ({"loss": "dice"}, "loss"),
        ({"pretrained": "true", "model": "resnet18"}, "pretrained"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_hyperparameters_that_do_not_fit(shapes: MlPaths, asked: dict[str, str], said: str) -> None:
    ask(shapes, **({"epochs": "1", "image_size": "32"} | asked))
    status = 4 if asked.get("pretrained") == "true" else 2
    assert said in refusal(shapes, status)


def test_a_size_that_does_not_fit_the_model(scenes: MlPaths) -> None:
    ask(scenes, image_size="100")
    assert "image_size" in refusal(scenes, 2)


def test_a_classifiers_head_on_a_segmentation_model(scenes: MlPaths) -> None:
    ask(scenes, hidden_units="64", image_size="32")
    assert "hidden_units" in refusal(scenes, 2)


def test_script_mode_needs_the_image(shapes: MlPaths) -> None:
    ask(shapes, sagemaker_program='"mine.py"')
    assert "mine.py" in refusal(shapes, 2)
