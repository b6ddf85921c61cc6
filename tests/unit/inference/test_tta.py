"""Test-time augmentation: flips and their inverse, and the mean of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from byoc_vision.inference.tta import Views, average, flip, unflip, view_axes

FEW = settings(max_examples=40, deadline=None)
LOGITS = arrays(np.float32, (3, 4), elements=st.floats(-80, 80, width=32))


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9)), st.sampled_from(["none", "flip", "flips"]))
@FEW
def test_unflip_is_the_inverse_of_flip(grey: np.ndarray, views: Views) -> None:
    rgb = np.repeat(grey[..., None], 3, axis=2)
    for axes in view_axes(views):
        logits = flip(rgb, axes).transpose(2, 0, 1).astype(np.float32)
        np.testing.assert_array_equal(unflip(logits, axes)[0], grey)


def test_the_views() -> None:
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    seen = [flip(rgb, axes) for axes in view_axes("flips")]
    for view, expected in zip(seen, (rgb, rgb[:, ::-1], rgb[::-1], rgb[::-1, ::-1]), strict=True):
        np.testing.assert_array_equal(view, expected)
        assert view.flags.c_contiguous
    assert view_axes("flip") == view_axes("flips")[:2]
    assert view_axes("none") == view_axes("flips")[:1]


def test_logits_of_a_whole_image_are_not_flipped() -> None:
    logits = np.array([1, 2], np.float32)
    assert unflip(logits, (1,)) is logits


@given(LOGITS, LOGITS)
@FEW
def test_the_mean_of_sigmoids_is_the_mean_of_probabilities(one: np.ndarray, other: np.ndarray) -> None:
    mean = average([one, other], "sigmoid")
    assert np.isfinite(mean).all()
    np.testing.assert_allclose(sigmoid(mean), (sigmoid(one) + sigmoid(other)) / 2, atol=1e-5)


@given(LOGITS, LOGITS)
@FEW
def test_the_mean_of_softmaxes_is_the_mean_of_probabilities(one: np.ndarray, other: np.ndarray) -> None:
    mean = average([one, other], "softmax")
    assert np.isfinite(mean).all()
    assert mean.dtype == np.float32
    np.testing.assert_allclose(softmax(mean), (softmax(one) + softmax(other)) / 2, atol=1e-5)
    np.testing.assert_allclose(np.exp(mean.astype(float)).sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_one_view_does_not_change(activation: str) -> None:
    logits = np.array([[3.0], [1.0]], np.float32)
    assert average([logits], activation) is logits


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(float)))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(float) - logits.max(axis=0))
    return powers / powers.sum(axis=0)
