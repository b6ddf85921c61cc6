"""The regression of the floor, against scikit-learn's and on features that are made up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from byoc_vision.models.build import build_model
from byoc_vision.models.losses import build_loss
from byoc_vision.recipe.linear_probe import FOLDS, _fit, _folds, few_enough, fit_head, linear_head
from byoc_vision.types import ModelSpec

CROSS_ENTROPY = build_loss("cross_entropy", "softmax", task="classification")
YES_OR_NO = build_loss("cross_entropy", "sigmoid", task="classification")


def clusters(count: int, features: int, classes: int, apart: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, features, generator=torch.Generator().manual_seed(99)) * apart
    labels = torch.arange(count) % classes
    return centres[labels] + torch.randn(count, features, generator=generator), labels


def test_it_is_the_regression_of_scikit_learn() -> None:
    inputs, labels = clusters(120, 6, 3, 0.7)
    penalty = 0.01
    ours = _fit(inputs, labels, 3, penalty, CROSS_ENTROPY)
    theirs = LogisticRegression(C=1 / (penalty * len(inputs)), tol=1e-8, max_iter=1000).fit(inputs, labels)
    probabilities = functional.linear(inputs, *ours).softmax(1).numpy()
    assert np.abs(probabilities - theirs.predict_proba(inputs)).max() < 2e-3


def test_scaled_features_give_the_same_answers() -> None:
    """Features differ in scale from network to network."""
    inputs, labels = clusters(200, 8, 4, 1.0)
    other_inputs = 1000 * inputs + torch.arange(8)
    plain, scaled = (fit_head(each, labels, 4, CROSS_ENTROPY, 0) for each in (inputs, other_inputs))
    one, other = functional.linear(inputs, *plain), functional.linear(other_inputs, *scaled)
    assert (one.softmax(1) - other.softmax(1)).abs().max() < 0.02


def test_a_feature_that_hardly_varies_gets_no_large_weight() -> None:
    """As of images unlike those that the network was pretrained on; a step of the encoder may make it vary."""
    inputs, labels = clusters(200, 8, 4, 1.0)
    inputs[:, 0] *= 1e-4
    weights = fit_head(inputs, labels, 4, CROSS_ENTROPY, 0).weight.abs()
    assert weights[:, 0].max() < weights[:, 1:].max()


def test_the_penalty_suits_images_that_it_was_not_fitted_on() -> None:
    """40 noisy images of 200 features: without a penalty the regression remembers the noise."""
    inputs, labels = clusters(40, 200, 2, 0.12)
    others, targets = clusters(2000, 200, 2, 0.12, seed=1)
    chosen = fit_head(inputs, labels, 2, CROSS_ENTROPY, 0)
    loose = _fit(inputs, labels, 2, 1e-6, CROSS_ENTROPY)
    losses = [float(CROSS_ENTROPY(functional.linear(others, *head), targets)) for head in (chosen, loose)]
    assert losses[0] < 0.8 * losses[1]


def test_several_labels_an_image() -> None:
    inputs, labels = clusters(200, 8, 4, 2.0)
    targets = functional.one_hot(labels, 4)
    targets[:, 0] |= targets[:, 1]
    fitted = fit_head(inputs, targets.to(torch.uint8), 4, YES_OR_NO, 0)
    assert ((functional.linear(inputs, *fitted) > 0) == targets.bool()).float().mean() > 0.97


def test_the_folds_share_the_images_of_each_class() -> None:
    labels = torch.tensor([0] * 8 + [1] * 80)
    fold = _folds(labels, 1)
    assert [int(((fold == number) & (labels == 0)).sum()) for number in range(FOLDS)] == [2] * FOLDS


def test_many_classes_take_fewer_images() -> None:
    samples = range(100_000)
    assert len(few_enough(samples, 512, 10)) <= 20_000  # type: ignore[arg-type]
    assert len(few_enough(samples, 2048, 1000)) < 10_000  # type: ignore[arg-type]
    assert few_enough(samples[:50], 512, 10) == samples[:50]  # type: ignore[arg-type]


@pytest.mark.parametrize(("hidden", "found"), [((), True), ((16,), False)])
def test_only_a_head_of_one_layer_starts_from_it(hidden: tuple[int, ...], found: bool) -> None:
    net = build_model(ModelSpec(task="classification", architecture="test_resnet", outputs=3, hidden_units=hidden))
    assert isinstance(linear_head(net), nn.Linear) is found


def test_segmentation_has_none() -> None:
    assert linear_head(build_model(ModelSpec(task="segmentation", architecture="unet_small", outputs=3))) is None
