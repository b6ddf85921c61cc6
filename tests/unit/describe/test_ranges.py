"""What a search may vary: around the recipe's own values, and always a valid job."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recipes import EXAMPLES, recipes

from byoc_vision.describe.ranges import ENCODERS, search_space
from byoc_vision.describe.recipe import recipe_of
from byoc_vision.describe.space import Categorical, Continuous, Integer, Objective, Range, SearchSpace
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.models.build import build_model
from byoc_vision.models.names import SMP_STRIDES
from byoc_vision.models.shapes import output_shape
from byoc_vision.types import ModelSpec

searched = cache(search_space)  # a recipe's file is read once
SOURCES = ["segmentation", "classification", *(str(EXAMPLES / name) for name in recipes())]


def points(space: SearchSpace) -> st.SearchStrategy[dict[str, str]]:
    """A value of each range, as hyperparameters.json spells it."""
    return st.fixed_dictionaries({found.name: _values(found) for found in space.ranges})


def _values(found: Range) -> st.SearchStrategy[str]:
    if isinstance(found, Categorical):
        return st.sampled_from(found.values)
    if isinstance(found, Integer):
        return st.integers(found.low, found.high).map(str)
    return st.floats(found.low, found.high).map(str)


def ranges_of(space: SearchSpace) -> dict[str, Range]:
    return {found.name: found for found in space.ranges}


def segmentation(**given: str) -> dict[str, Range]:
    return ranges_of(search_space(recipe_of({"task": "segmentation", **given})))


def classification(**given: str) -> dict[str, Range]:
    return ranges_of(search_space(recipe_of({"task": "classification", **given})))


@settings(max_examples=40)
@given(st.data())
def test_any_point_of_any_recipe_is_a_valid_job(data: st.DataObject) -> None:
    space = searched(data.draw(st.sampled_from(SOURCES)))
    point = data.draw(points(space))
    parsed = parse(space.fixed | point)
    alone = parse(point | {"freeze_epochs": "0"})
    assert all(getattr(parsed, name) == getattr(alone, name) for name in point)
    assert f"validation:{parsed.objective}" == space.objective.metric


NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "learning_rate": st.floats(0, exclude_min=True, allow_infinity=False),
    "weight_decay": st.floats(0, allow_infinity=False),
    "encoder_lr_factor": st.floats(0, 1, exclude_min=True),
    "dropout_rate": st.floats(0, 1, exclude_max=True),
    "batch_size": st.integers(1, 10**6),
    "epochs": st.integers(5, 10**6),
    "freeze_epochs": st.integers(0, 4),
}


@settings(max_examples=40)
@given(st.fixed_dictionaries({}, optional=NUMBERS))
def test_ranges_hold_the_recipe_s_own_values_whatever_these_are(numbers: dict[str, Any]) -> None:
    asked = {"task": "classification", **{name: str(value) for name, value in numbers.items()}}
    space = search_space(recipe_of(asked))
    own = recipe_of(asked).hyperparameters
    for found in space.ranges:
        if isinstance(found, Categorical):
            continue
        assert found.low <= found.high
        assert found.low > 0 or not found.logarithmic
        value = getattr(own, found.name)
        if value is None:
            assert found.name == "dropout_rate", "only the network knows its own"
            continue
        assert found.low <= value <= found.high or (found.name == "weight_decay" and value == 0)
    ends = [{found.name: str(end) for found in space.ranges if not isinstance(found, Categorical)
             for end in (getattr(found, side),)} for side in ("low", "high")]  # fmt: skip
    for point in ends:
        parse(space.fixed | point)


def test_the_length_varies_as_the_recipe_gives_it() -> None:
    assert classification(model="resnet50", steps="200")["steps"] == Integer("steps", 100, 301)
    assert "epochs" not in classification(model="resnet50", steps="200")
    assert not {"epochs", "steps"} & set(classification(model="resnet50", budget="20m"))


def test_what_varies_of_a_classifier() -> None:
    found = classification(model="resnet50", pretrained="true", learning_rate="0.01", hidden_units="256", epochs="10")
    assert found["learning_rate"] == Continuous("learning_rate", 0.001, 0.1, logarithmic=True)
    assert found["batch_size"] == Integer("batch_size", 8, 32, logarithmic=True)
    assert found["epochs"] == Integer("epochs", 5, 15)
    assert found["hidden_units"] == Categorical("hidden_units", ("256", "[]", "512"))
    assert found["encoder_lr_factor"] == Continuous("encoder_lr_factor", 0.2, 1.0, logarithmic=True)
    assert "encoder" not in found
    assert "loss" not in found


def test_what_varies_of_a_segmentation_model() -> None:
    found = segmentation(model="unet", encoder="ResNet-34")
    assert found["encoder"] == Categorical("encoder", ("ResNet-34", "mobilenet_v2", "resnet18", "efficientnet-b0"))
    assert found["loss"] == Categorical("loss", ("bce_dice", "cross_entropy", "dice", "focal"))
    assert "dropout_rate" not in found
    assert "encoder_lr_factor" not in found, "nothing is pretrained"


def test_the_classic_unet_has_no_encoder_to_vary() -> None:
    assert not {"encoder", "encoder_lr_factor"} & set(segmentation(pretrained="true"))


def test_an_encoder_that_is_not_named_is_the_usual_one() -> None:
    encoder = segmentation(model="deeplab")["encoder"]
    assert isinstance(encoder, Categorical)
    assert encoder.values[0] == "resnet34"


@pytest.mark.parametrize("model", ["dpt", "fcn_resnet50"])
def test_models_with_an_encoder_of_their_own_keep_it(model: str) -> None:
    found = segmentation(model=model, pretrained="true")
    assert "encoder" not in found
    assert "encoder_lr_factor" in found


def test_smoothed_labels_go_with_two_losses() -> None:
    found = segmentation(label_smoothing="0.1")
    assert found["loss"] == Categorical("loss", ("bce_dice", "cross_entropy"))


def test_losses_of_several_kinds_are_not_compared() -> None:
    assert "loss" not in segmentation(objective="loss")


def test_the_encoder_learns_in_some_epoch() -> None:
    assert segmentation(model="fpn", epochs="4", freeze_epochs="3")["epochs"] == Integer("epochs", 4, 6)


def test_a_batch_size_that_is_found_is_not_varied() -> None:
    assert "batch_size" not in segmentation(auto_batch_size="true")


@pytest.mark.parametrize(
    ("asked", "metric", "objective"),
    [
        ({"task": "segmentation"}, None, Objective("validation:dice", "maximize")),
        ({"task": "segmentation", "num_classes": "5"}, None, Objective("validation:miou", "maximize")),
        ({"task": "classification"}, None, Objective("validation:accuracy", "maximize")),
        ({"task": "classification", "multi_label": "true"}, None, Objective("validation:map", "maximize")),
        ({"task": "classification", "objective": "validation:f1"}, None, Objective("validation:f1", "maximize")),
        ({"task": "classification", "objective_metric": "f1"}, "recall", Objective("validation:recall", "maximize")),
        ({"task": "segmentation"}, "validation:loss", Objective("validation:loss", "minimize")),
    ],
)
def test_objectives(asked: dict[str, str], metric: str | None, objective: Objective) -> None:
    space = search_space(recipe_of(asked), metric)
    assert space.objective == objective
    assert f"validation:{parse(space.fixed).objective}" == objective.metric, "the job keeps the epoch that counts"


def test_what_is_given_under_another_name_is_varied_once() -> None:
    space = search_space(
        recipe_of({"task": "classification", "lr": "0.1", "mini_batch_size": "4", "num_layers": "50", "seed": "1"})
    )
    assert set(space.fixed) == {"task", "num_layers", "seed", "objective"}


def test_what_clients_add_and_values_that_are_not_text() -> None:
    space = search_space(recipe_of({"task": "classification", "_tuning_objective_metric": "x", "early_stopping": True}))
    assert space.fixed == {"task": "classification", "early_stopping": "true", "objective": "accuracy"}


def test_some_may_stay_as_they_are() -> None:
    space = search_space(recipe_of({"task": "segmentation", "model": "fpn", "epochs": "3"}), keep=("epochs", "encoder"))
    assert not {"epochs", "encoder"} & set(ranges_of(space))
    assert space.fixed["epochs"] == "3"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: search_space("nowhere"), "nowhere is not a recipe: .* no file nowhere; name a hyperparameters.json"),
        (lambda: search_space("segmentation", "accuracy"), "metric=accuracy is not a metric .*validation:miou"),
        (lambda: search_space("segmentation", keep=["epoch"]), "keep=epoch does not vary; choose from learning"),
        (lambda: search_space("segmentation", keep=ranges_of(search_space("segmentation"))), "nothing is left to vary"),
        (lambda: search_space(recipe_of({"objective": "dice", "task": "classification"})), "objective=dice is not"),
        (lambda: recipe_of({"epochs": "3"}), 'task: the recipe does not give it; add "task": "segmentation"'),
        (lambda: recipe_of({"model": "resnet5O"}), "model=resnet5O is not known; the nearest names are"),
        (lambda: recipe_of({"epoch": "3"}), "epoch: is not known; did you mean epochs"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_said(call: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()


@pytest.mark.parametrize(("model", "task"), [("deeplab", "segmentation"), ("resnet50", "classification")])
def test_the_task_follows_from_the_model(model: str, task: str) -> None:
    assert recipe_of({"model": model}).task == task


def test_a_recipe_is_a_file_or_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "hyperparameters.json"
    file.write_text(json.dumps({"task": "segmentation", "epochs": "7"}))
    assert search_space(tmp_path) == search_space(str(file)) == search_space(recipe_of(json.loads(file.read_text())))


# Those that dilate the encoder, which not every encoder bears. All other pairs were tried once.
@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [("deeplabv3plus", "efficientnet-b0"), ("pan", "mobilenet_v2")],
)
def test_architectures_take_the_encoders_of_the_space(architecture: str, encoder: str) -> None:
    assert architecture in SMP_STRIDES
    assert encoder in ENCODERS
    spec = ModelSpec(task="segmentation", architecture=architecture, encoder=encoder, outputs=1)
    with torch.device("meta"):
        network = build_model(spec)
    assert output_shape(network, 128, 160) == (2, 1, 128, 160)
