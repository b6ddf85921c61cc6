"""Every metric is scikit-learn's, on whatever targets and predictions; of masks, over their pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from byoc_vision.evaluation.metrics import ClassificationMetrics, MultiLabelMetrics, SegmentationMetrics
from byoc_vision.evaluation.scoring import ScoredPrediction, score
from byoc_vision.inference.predictor import Classification, Segmentation
from byoc_vision.types import ClassInfo

IGNORED = 255

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """scikit-learn warns of classes that never occur."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def probabilities(random: np.random.Generator, images: int, classes: int) -> np.ndarray:
    """Different in each row, since of equal ones the order is not defined. float32 [N, K]."""
    ranks = np.stack([random.permutation(classes) for _ in range(images)]) + 1.0
    return np.float32(ranks / ranks.sum(axis=1, keepdims=True))


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(3, 6), st.integers(1, 40))
def test_of_images_with_one_class_each(seed: int, classes: int, images: int) -> None:
    random, names = np.random.default_rng(seed), [str(index) for index in range(classes)]
    scores = probabilities(random, images, classes)
    targets = random.integers(random.integers(1, classes + 1), size=images)  # often without some of the classes
    metrics = ClassificationMetrics(names, top_k=2)
    metrics.update(
        ScoredPrediction(Classification(row, tuple(names)), np.array(target))
        for row, target in zip(scores, targets, strict=True)
    )
    found, predicted = metrics.compute(), scores.argmax(axis=1)
    each = reference.f1_score(targets, predicted, labels=range(classes), average=None)
    occurring = sorted({*targets, *predicted})
    assert found == pytest.approx(
        {
            "accuracy": reference.accuracy_score(targets, predicted),
            "f1": reference.f1_score(targets, predicted, average="macro"),
            "precision": reference.precision_score(targets, predicted, average="macro"),
            "recall": reference.recall_score(targets, predicted, average="macro"),
            "top_2_accuracy": reference.top_k_accuracy_score(targets, scores, k=2, labels=range(classes)),
            **{f"f1_{index}": each[index] for index in occurring},
        },
        abs=1e-6,
    )


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(2, 5), st.integers(1, 40), st.booleans())
def test_of_images_with_any_number_of_classes(seed: int, classes: int, images: int, ties: bool) -> None:
    random, names = np.random.default_rng(seed), [str(index) for index in range(classes)]
    scores = np.float32(random.random((images, classes)))
    scores = np.round(scores, 1) * np.float32(0.9) + np.float32(0.03) if ties else scores
    targets = np.uint8(random.random((images, classes)) < random.random(classes) ** 2)
    metrics = MultiLabelMetrics(names)
    metrics.update(
        ScoredPrediction(Classification(row, tuple(names)), target) for row, target in zip(scores, targets, strict=True)
    )
    predicted = scores > 0.5
    occurring = [index for index in range(classes) if targets[:, index].any() or predicted[:, index].any()]
    shown = [index for index in range(classes) if targets[:, index].any()]
    each = [reference.f1_score(targets[:, index], predicted[:, index]) for index in range(classes)]
    precisions = [reference.average_precision_score(targets[:, index], scores[:, index]) for index in shown]
    assert metrics.compute() == pytest.approx(
        {
            "map": np.mean(precisions) if shown else 0.0,
            "accuracy": 1 - reference.hamming_loss(targets, predicted),
            "exact_match": reference.accuracy_score(targets, predicted),
            "f1": np.mean([each[index] for index in occurring]) if occurring else 0.0,
            "micro_f1": reference.f1_score(targets.ravel(), predicted.ravel()),
            **{f"f1_{index}": each[index] for index in occurring},
        },
        abs=1e-6,
    )


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(2, 5), st.integers(1, 4))
def test_of_masks(seed: int, classes: int, images: int) -> None:
    random, names = np.random.default_rng(seed), [str(index) for index in range(classes)]
    infos = tuple(ClassInfo(name, index) for index, name in enumerate(names))
    pairs = []
    for _ in range(images):
        shape = tuple(random.integers(1, 9, 2))
        target = random.integers(random.integers(1, classes + 1), size=shape).astype(np.uint8)
        target[random.random(shape) < 0.2] = IGNORED
        pairs.append((random.integers(classes, size=shape).astype(np.uint8), target))
    scored = [score(Segmentation(labels, infos, lambda: np.zeros(0)), target, classes) for labels, target in pairs]
    metrics = SegmentationMetrics(names)
    metrics.update(scored)
    found = metrics.compute()
    kept = [(labels[target != IGNORED], target[target != IGNORED]) for labels, target in pairs]
    predicted, targets = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    confusion = sum(one.confusion for one in scored if one.confusion is not None)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(targets, predicted, labels=range(classes)))
    if not len(targets):
        return
    occurring = sorted({*targets, *predicted})
    each = reference.jaccard_score(targets, predicted, labels=occurring, average=None)
    dice = [
        reference.f1_score(t, p, labels=sorted({*t, *p} - {0}), average="macro") if {*t, *p} - {0} else 1.0
        for p, t in kept
        if len(t)
    ]
    assert found == pytest.approx(
        {
            "dice": np.mean(dice),
            "miou": each.mean(),
            "pixel_accuracy": reference.accuracy_score(targets, predicted),
            **{f"iou_{index}": value for index, value in zip(occurring, each, strict=True)},
        },
        abs=1e-6,
    )
