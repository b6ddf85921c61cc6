"""The recipe and the images, before anything is trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.errors import DataError, InputError
from byoc_vision.tuning.request import read_request


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    make_classification_set(folder, count_train=8, count_validation=4, size=40)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    make_segmentation_set(folder, count_train=4, count_validation=2, size=40)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "hyperparameters.json"
    path.write_text(json.dumps({"epochs": 3, "lr": "0.002"}))
    return path


def test_the_task_is_seen_from_the_data(recipe: Path, shapes: Path, scenes: Path) -> None:
    labelled, masked = read_request(str(recipe), shapes), read_request(str(recipe.parent), scenes)
    assert labelled.space.objective.metric == "validation:accuracy"
    assert masked.space.objective.metric == "validation:dice"
    assert (labelled.space.fixed["task"], masked.space.fixed["task"]) == ("classification", "segmentation")
    assert labelled.own["learning_rate"] == 0.002
    assert "lr" not in labelled.space.fixed
    assert set(masked.channels) == {"train", "train_annotation", "validation", "validation_annotation"}
    assert all(path.is_absolute() for path in masked.channels.values())


def test_a_task_is_a_recipe(shapes: Path) -> None:
    assert read_request("classification", shapes, "f1").space.objective.metric == "validation:f1"


def test_what_is_kept_does_not_vary(recipe: Path, shapes: Path) -> None:
    asked = read_request(str(recipe), shapes, keep=["epochs", "learning_rate"])
    assert not {"epochs", "learning_rate"} & {found.name for found in asked.space.ranges}
    assert asked.space.fixed["lr"] == "0.002"


def test_the_same_images_are_the_same_data_wherever_they_lie(recipe: Path, shapes: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(shapes, moved)
    here = read_request(str(recipe), shapes).identity
    assert read_request(str(recipe), moved).identity == here
    image = next((moved / "train" / "circle").iterdir())
    image.rename(image.with_name("renamed.jpg"))
    assert read_request(str(recipe), moved).identity["data"] != here["data"]
    assert json.loads(json.dumps(here)) == here


def test_a_recipe_that_is_none_is_named(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a recipe"):
        read_request("nowhere", shapes)
    (tmp_path / "hyperparameters.json").write_text('{"epoch": "3", "batch_size": "many"}')
    with pytest.raises(InputError, match="2 hyperparameters are wrong"):
        read_request(str(tmp_path), shapes)


def test_bad_images_are_named_before_anything_is_trained(recipe: Path, shapes: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(shapes, broken)
    (broken / "train" / "star" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    with pytest.raises(DataError, match=r"torn\.jpg"):
        read_request(str(recipe), broken)


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--metric", "validation:dice"], 2, "take one of validation:accuracy, validation:f1"),
        (["--keep", "learning_rat"], 2, "learning_rat does not vary"),
        (["--recipe", "clasification"], 2, "clasification is not a recipe"),
        (["--data", "nowhere"], 2, "nowhere cannot be listed"),
    ],
)
def test_the_command_names_what_is_wrong(
    options: list[str],
    status: int,
    said: str,
    recipe: Path,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = ["tune", "--recipe", str(recipe), "--data", str(shapes), "--output", str(tmp_path / "out")]
    assert main([*usual, *options]) == status
    assert said in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", ["0", "-1", "2.5", "many"])
def test_there_is_at_least_one_trial(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["tune", "--recipe", "classification", "--data", "shapes", "--trials", count])
    assert refusal.value.code == 2
    assert "is not a whole number above 0" in capsys.readouterr().err
