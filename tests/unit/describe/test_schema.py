"""The JSON Schema of hyperparameters.json beside the reader that jobs have."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.recipes import hyperparameters_of, recipes

from byoc_vision.describe.schema import hyperparameters_schema
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.hyperparameters.reading import known_names

SCHEMA = hyperparameters_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

SPELLINGS: tuple[Any, ...] = (
    "0", "1", "-1", "2", "256", " 3 ", "0.5", "1.5", "-0.5", "1e-3", "5E-01", "2.5", "nan", "inf", "many", "", "None",
    "null", None, "adamw", "one_cycle", "auto", "balanced", "f1", "validation:f1", "10, 20", "[10, 20]", "10,20",
    "10 20", "256x192", "1, 0", "0.5, 2", "10:20", 0, 1, -1, 2, 256, 0.5, 1.5, [1, 2], [10, 20, 30],
)  # fmt: skip
FREE_TEXTS = ("model", "architecture", "algorithm", "encoder", "backbone", "augmentation", "augmentation_type",
              "health_action", "health_thresholds", "mask_colors", "mask_colours",
              "label_column", "image_column", "label_attribute")  # fmt: skip
KNOWN_DIFFERENCES = [  # bounds that strings do not tell, what depends on another field, and rarer spellings
    ("ignore_index", "256"), ("bands", "0"), ("bands", "256"), ("freeze_epochs", "256"),
    ("freeze_epochs", 256), ("image_shape", [10, 20, 30]),
    *(("random_scale", text) for text in ("0", "256", "0.5", "1e-3", "5E-01")),
    *(("profile_steps", text) for text in ("10, 20", "[10, 20]", "10,20")),
]  # fmt: skip


def test_it_is_a_schema_of_its_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_name_is_described() -> None:
    assert set(SCHEMA["properties"]) == known_names()
    assert all(entry["description"] for entry in SCHEMA["properties"].values())


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_fits(recipe: str) -> None:
    assert list(VALIDATOR.iter_errors(hyperparameters_of(recipe))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": "3"},
        {"optimizer": "admw"},
        {"batch_size": "many"},
        {"batch_size": "0"},
        {"learning_rate": "-1"},
        {"dropout_rate": "1.5"},
        {"encoder_lr_factor": 2},
        {"num_classes": "1"},
        {"image_size": "1, 2, 3"},
        {"early_stopping": "maybe"},
        {"lr": "fast"},
        [],
    ],
)
def test_what_is_wrong_does_not(wrong: Any) -> None:
    assert not VALIDATOR.is_valid(wrong)


def disagreements() -> Iterator[tuple[str, Any]]:
    for name in sorted(known_names() - set(FREE_TEXTS)):
        for value in SPELLINGS:
            try:
                parse({name: value})
                parsed = True
            except InputError:
                parsed = False
            if VALIDATOR.is_valid({name: value}) != parsed:
                yield name, value


def test_it_agrees_with_the_reader_in_every_usual_spelling(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    assert [pair for pair in disagreements() if pair not in KNOWN_DIFFERENCES] == []


def test_augmentation_is_plain_text() -> None:
    assert VALIDATOR.is_valid({"augmentation": "True"})
    assert not VALIDATOR.is_valid({"augmentation": {"a": 1}})


def test_what_clients_add_is_passed_over() -> None:
    assert VALIDATOR.is_valid({"_tuning_objective_metric": "validation:dice", "sagemaker_region": '"eu-west-1"'})
