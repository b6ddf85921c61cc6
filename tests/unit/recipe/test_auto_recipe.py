"""What recipe=auto chooses, and what it leaves alone."""

from __future__ import annotations

import pytest

from byoc_vision.hyperparameters import parse
from byoc_vision.recipe.auto_recipe import LEAST_STEPS, MOST_EPOCHS, Facts, choose, steps_an_epoch
from byoc_vision.recipe.segmentation_recipe import Scene

CLASSIFIER = Facts("classification", images=200, pretrained=True, linear_head=True, encoder=True)
UNET = Facts("segmentation", images=300, pretrained=True, encoder=True, scene=Scene(11))


def chosen(facts: Facts, **given: str) -> dict[str, object]:
    settings, choices = choose(parse(given), facts, frozenset(given))
    assert all(getattr(settings, choice.name) == choice.value for choice in choices)
    return {choice.name: choice.value for choice in choices}


def test_a_pretrained_classifier_starts_from_a_linear_probe_with_small_steps() -> None:
    choices = chosen(CLASSIFIER)
    assert choices["linear_probe"] is True
    assert choices["learning_rate"] < 1e-3  # type: ignore[operator]


def test_a_linear_probe_and_few_images_keep_the_pretrained_statistics() -> None:
    assert chosen(CLASSIFIER)["freeze_batch_norm"] is True
    many = Facts("classification", 10_000, pretrained=True, linear_head=True, encoder=True)
    assert set(chosen(many)) == {"linear_probe", "warmup_epochs", "learning_rate", "freeze_batch_norm"}
    assert "freeze_batch_norm" not in chosen(many, linear_probe="false")
    assert chosen(CLASSIFIER, linear_probe="false")["freeze_batch_norm"] is True


def test_what_the_job_sets_stays() -> None:
    given = {"learning_rate": "0.002", "epochs": "3", "linear_probe": "false"}
    assert not set(given) & set(chosen(CLASSIFIER, **given))


def test_a_default_that_the_job_sets_stays_too() -> None:
    assert "learning_rate" not in chosen(CLASSIFIER, learning_rate="0.001")


def test_the_rate_is_for_adam_alone() -> None:
    """SGD's steps are the gradients' times the rate: 3e-4 is far too little."""
    assert "learning_rate" in chosen(CLASSIFIER, optimizer="adam")
    assert "learning_rate" not in chosen(CLASSIFIER, optimizer="sgd")


@pytest.mark.parametrize(
    ("facts", "given"),
    [
        (CLASSIFIER, {"recipe": "none"}),
        (UNET, {"recipe": "none"}),
        (Facts("classification", 20), {}),
        (Facts("segmentation", 20, encoder=True, scene=Scene(2)), {}),
        (Facts("segmentation", 20, pretrained=True, scene=Scene(2)), {}),
    ],
    ids=["recipe=none", "segmentation, recipe=none", "random weights", "segmentation, random weights", "no encoder"],
)
def test_nothing_is_chosen(facts: Facts, given: dict[str, str]) -> None:
    assert chosen(facts, **given) == {}


def test_a_head_of_hidden_layers_has_no_linear_probe() -> None:
    assert "linear_probe" not in chosen(Facts("classification", 200, pretrained=True, encoder=True))


@pytest.mark.parametrize("images", [1, 10, 50, 200, 1_000])
def test_few_images_are_seen_more_often(images: int) -> None:
    facts = Facts("classification", images, pretrained=True, linear_head=True, encoder=True)
    settings, _ = choose(parse({}), facts, frozenset())
    enough = settings.epochs * steps_an_epoch(images, settings) >= LEAST_STEPS
    assert 10 <= settings.epochs <= MOST_EPOCHS
    assert enough or settings.epochs == MOST_EPOCHS


def test_each_choice_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        _, choices = choose(parse({}), CLASSIFIER, frozenset())
    lines = [record.message for record in caplog.records]
    assert len(lines) == len(choices)
    assert "recipe: learning_rate=0.0003, since larger steps spoil pretrained features" in "\n".join(lines)
