"""Labels and probabilities from logits that come class by class and cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from byoc_vision.inference.postprocess import logit
from byoc_vision.inference.tile_accumulator import LabelAccumulator, ProbabilityAccumulator

FEW = settings(max_examples=40, deadline=None)
HEIGHT, WIDTH = 7, 5
CELLS = ((0, 0, 4, 3), (0, 3, 4, 4), (4, 0, 5, 3), (4, 3, 5, 4))  # top, left, height, width: beyond the edges, too


def fill(canvas: LabelAccumulator, logits: np.ndarray) -> None:
    padded = np.pad(logits, ((0, 0), (0, 2), (0, 2)), constant_values=99)
    for top, left, height, width in CELLS:
        for index, plane in enumerate(padded):
            canvas.put(index, top, left, plane[top : top + height, left : left + width])


@given(arrays(np.float32, (3, HEIGHT, WIDTH), elements=st.floats(-9, 9, width=32)))
@FEW
def test_the_highest_logit_of_several_classes_decides(logits: np.ndarray) -> None:
    canvas = ProbabilityAccumulator(HEIGHT, WIDTH, planes=3, logit_threshold=None)
    fill(canvas, logits)
    np.testing.assert_array_equal(canvas.labels, logits.argmax(axis=0))
    powers = np.exp(logits.astype(float))
    np.testing.assert_allclose(canvas.probabilities(), powers / powers.sum(axis=0), atol=1e-5)


@given(arrays(np.float32, (1, HEIGHT, WIDTH), elements=st.floats(-9, 9, width=32)), st.floats(0.01, 0.99))
@FEW
def test_a_single_logit_is_compared_with_the_threshold(logits: np.ndarray, threshold: float) -> None:
    canvas = ProbabilityAccumulator(HEIGHT, WIDTH, planes=1, logit_threshold=logit(threshold))
    fill(canvas, logits)
    np.testing.assert_array_equal(canvas.labels, logits[0] > np.log(threshold / (1 - threshold)))
    positive = 1 / (1 + np.exp(-logits[0].astype(float)))
    np.testing.assert_allclose(canvas.probabilities(), [1 - positive, positive], atol=1e-5)


@pytest.mark.parametrize(("probability", "expected"), [(0.5, 0), (0.731058578, 1)])
def test_the_logit_of_a_probability(probability: float, expected: float) -> None:
    assert logit(probability) == pytest.approx(expected)
