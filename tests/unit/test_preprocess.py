"""The resize rules, checked on many sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from byoc_vision.preprocess import Preprocess, crop

sides = st.integers(1, 70)
rules = st.builds(
    Preprocess,
    height=sides,
    width=sides,
    resize=st.sampled_from(["stretch", "letterbox", "short_side"]),
    per_axis=st.booleans(),
)
restorable = st.builds(Preprocess, height=sides, width=sides, resize=st.sampled_from(["stretch", "letterbox"]))
seeds = st.integers(0, 2**16)


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(rules, sides, sides, seeds)
def test_an_image_gets_the_models_size_and_no_new_extremes(
    rule: Preprocess, height: int, width: int, seed: int
) -> None:
    rgb = pixels(seed, height, width, 3) // 2 + 60
    image = rule.image(rgb)
    assert image.shape == (rule.height, rule.width, 3)
    assert image.dtype == np.uint8
    inside = image[image > 0]
    assert rgb.min() <= inside.min()
    assert inside.max() <= rgb.max()


@given(rules, sides, sides, seeds, st.integers(0, 255))
def test_no_mask_value_is_invented(rule: Preprocess, height: int, width: int, seed: int, fill: int) -> None:
    labels = pixels(seed, height, width)
    fitted = rule.mask(labels, fill)
    assert fitted.shape == (rule.height, rule.width)
    assert fitted.dtype == np.uint8
    assert set(np.unique(fitted)) <= set(np.unique(labels)) | {fill}


@given(rules, sides, sides)
def test_only_letterbox_fills(rule: Preprocess, height: int, width: int) -> None:
    fitted = rule.mask(np.zeros((height, width), np.uint8), fill=9)
    window = rule.window(height, width)
    inner = fitted[window.top : window.top + window.height, window.left : window.left + window.width]
    assert not inner.any()
    assert (fitted == 9).sum() == fitted.size - inner.size
    assert rule.resize == "letterbox" or inner.size == fitted.size


@given(restorable, sides, sides, seeds)
def test_an_answer_comes_back_in_the_images_size(rule: Preprocess, height: int, width: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(rule.height, rule.width)).astype(np.float32)
    restored = rule.restore(logits, height, width)
    assert restored.shape == (height, width)
    assert restored.dtype == np.float32
    assert logits.min() - 1e-5 <= restored.min()
    assert restored.max() <= logits.max() + 1e-5


@pytest.mark.parametrize("count", [1, 2, 5, 254])
def test_many_planes_are_restored_as_each_alone(count: int) -> None:
    rule = Preprocess(height=16, width=24, resize="letterbox")
    logits = np.random.default_rng(0).normal(size=(16, 24, count)).astype(np.float32)
    restored = rule.restore(logits, 31, 29)
    assert restored.shape == (31, 29, count)
    for index in range(count):
        np.testing.assert_array_equal(restored[:, :, index], rule.restore(logits[:, :, index], 31, 29))


@given(restorable, sides, sides)
def test_what_is_in_the_border_is_not_seen(rule: Preprocess, height: int, width: int) -> None:
    plane = np.full((rule.height, rule.width), 1e6, np.float32)
    window = rule.window(height, width)
    plane[window.top : window.top + window.height, window.left : window.left + window.width] = 1
    np.testing.assert_allclose(rule.restore(plane, height, width), 1)


@given(st.integers(8, 70), st.integers(8, 70), sides, sides)
def test_letterbox_keeps_proportions_and_is_centred(height: int, width: int, to_height: int, to_width: int) -> None:
    rule = Preprocess(height=to_height, width=to_width, resize="letterbox")
    window = rule.window(height, width)
    scale = min(to_height / height, to_width / width)
    assert abs(window.height - height * scale) <= 1
    assert abs(window.width - width * scale) <= 1
    assert abs(to_height - window.height - 2 * window.top) <= 1
    assert abs(to_width - window.width - 2 * window.left) <= 1


@settings(max_examples=30)
@given(rules, seeds)
def test_an_image_of_the_models_size_is_not_touched(rule: Preprocess, seed: int) -> None:
    rgb = pixels(seed, rule.height, rule.width, 3)
    np.testing.assert_array_equal(rule.image(rgb), rgb)
    np.testing.assert_array_equal(rule.mask(rgb[:, :, 0]), rgb[:, :, 0])


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "short_side"])
@pytest.mark.parametrize("size", [(40, 90), (200, 120), (33, 47)])
def test_images_and_masks_stay_aligned(resize: str, size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 4 : size[0] * 2 // 3, size[1] // 3 : size[1] * 3 // 4] = 1
    rule = Preprocess.model_validate({"height": 64, "width": 64, "resize": resize})
    image = rule.image(np.repeat(mask[:, :, None] * 255, 3, axis=2))
    # They may differ along the edge only, where the image is blended: four sides of 64 pixels at the most.
    assert ((image[:, :, 0] > 127) != (rule.mask(mask) == 1)).sum() <= 2 * 64


@pytest.mark.parametrize("turned", [False, True])
def test_a_side_that_shrinks_while_the_other_grows_is_averaged(turned: bool) -> None:
    """Stripes one pixel wide, 0 and 255, of which eight become one pixel: their mean is 127.5."""
    stripes = np.tile(np.uint8([[0, 255]]), (255, 1024))[:, :, None].repeat(3, axis=2)
    image = Preprocess(height=256, width=256, per_axis=True).image(stripes.swapaxes(0, 1) if turned else stripes)
    assert np.abs(image.astype(float) - 127.5).max() <= 0.5


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 60), st.integers(0, 60), seeds)
def test_each_side_follows_its_closed_form(width: int, factor: int, height: int, more: int, seed: int) -> None:
    """Means of `factor` columns, and lines between the rows' centres."""
    rgb = pixels(seed, height, width * factor, 3)
    image = Preprocess(height=height + more, width=width, per_axis=True).image(rgb)
    means = rgb.reshape(height, width, factor, 3).mean(axis=2)
    at = np.clip((np.arange(height + more) + 0.5) * height / (height + more) - 0.5, 0, height - 1)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None, None]
    expected = means[low] * (1 - share) + means[np.minimum(low + 1, height - 1)] * share
    assert (
        np.abs(image - expected).max() <= 1.5
    )  # rounded to whole levels twice, the second time with weights of eleven bits


@given(st.integers(1, 70), st.integers(1, 70), sides, sides, seeds)
def test_sides_that_both_shrink_or_both_grow_are_resized_as_before(
    height: int, width: int, to_height: int, to_width: int, seed: int
) -> None:
    if (to_height - height) * (to_width - width) >= 0:
        rgb = pixels(seed, height, width, 3)
        old = Preprocess(height=to_height, width=to_width)
        np.testing.assert_array_equal(old.model_copy(update={"per_axis": True}).image(rgb), old.image(rgb))


def test_short_side_cuts_around_the_centre() -> None:
    rgb = np.zeros((10, 30, 3), np.uint8)
    rgb[:, 10:20] = 200
    image = Preprocess(height=5, width=5, resize="short_side").image(rgb)
    assert (image == 200).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 30), st.integers(1, 200), st.integers(1, 200))
def test_a_part_of_the_resized_image_is_cut_out_of_its_middle(
    height: int, width: int, more: int, from_height: int, from_width: int
) -> None:
    """Where the image is brighter from left to right, so is what was cut: by the share that is left of it."""
    rule = Preprocess(height=height, width=width, resize="short_side", short_side=max(height, width) + more)
    ramp = np.linspace(0, 255, from_width).astype(np.uint8)[None, :, None].repeat(from_height, 0).repeat(3, 2)
    image = rule.image(ramp)
    assert image.shape == (height, width, 3)
    share = width * min(from_height, from_width) / rule.short_side / from_width
    spread = int(image[0, -1, 0]) - int(image[0, 0, 0])
    # Off by a pixel of the source on either side, and at the edges of the model's input by half a pixel of its own.
    assert abs(spread - 255 * share) <= 255 * (2.5 / from_width + share / width) + 2


def test_256_and_224_are_seven_eighths_of_the_image() -> None:
    rule = Preprocess(height=224, width=224, resize="short_side", short_side=256)
    rgb = np.zeros((512, 1024, 3), np.uint8)
    rgb[32:480, 288:736] = 200
    np.testing.assert_array_equal(rule.image(rgb), 200)
    rgb[31] = 100
    np.testing.assert_array_equal(rule.image(rgb), 200)
    rgb[32] = 100
    assert (rule.image(rgb)[0] == 150).all()


def test_training_cuts_out_of_the_whole_image_with_its_shorter_side_fitted() -> None:
    rule = Preprocess(height=4, width=4, resize="short_side", short_side=8)
    corners = np.zeros((16, 24, 3), np.uint8)
    corners[:8, :8], corners[-8:, -8:], corners[4:12, 8:16] = 50, 150, 250
    resize_for_crop = rule.resize_for_crop(corners)
    assert resize_for_crop.shape == (8, 12, 3)
    assert (crop(resize_for_crop, 4, 4, (0.0, 0.0)) == 50).all()
    assert (crop(resize_for_crop, 4, 4, (0.999, 0.999)) == 150).all()
    np.testing.assert_array_equal(crop(resize_for_crop, 4, 4), rule.image(corners))


@given(rules, sides, sides, seeds)
def test_where_nothing_is_cut_at_random_training_sees_the_models_input(
    rule: Preprocess, height: int, width: int, seed: int
) -> None:
    rgb = pixels(seed, height, width, 3)
    np.testing.assert_array_equal(rule.resize_for_crop(rgb), rule.image(rgb))


@given(sides, sides, st.integers(0, 20))
def test_the_model_s_input_can_be_cut_out_of_any_image(height: int, width: int, spare: int) -> None:
    rule = Preprocess(height=10, width=12, resize="short_side", short_side=12 + spare)
    resize_for_crop = rule.resize_for_crop(pixels(0, height, width, 3))
    assert min(resize_for_crop.shape[:2]) == 12 + spare
    assert max(resize_for_crop.shape[:2]) <= 4 * (12 + spare)


@given(sides, sides, st.integers(0, 9), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_crop_is_within_the_image(height: int, width: int, spare: int, down: float, right: float) -> None:
    pixels_ = pixels(0, height + spare, width + spare)
    part = crop(pixels_, height, width, (down, right))
    assert part.shape == (height, width)
    assert np.shares_memory(part, pixels_)


@pytest.mark.parametrize(
    "fields", [{"short_side": 31}, {"short_side": 64, "resize": "letterbox"}, {"short_side": 64, "resize": "stretch"}]
)
def test_a_short_side_that_means_nothing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="short_side requires resize=short_side"):
        Preprocess.model_validate({"height": 24, "width": 32, "resize": "short_side"} | fields)


def test_rules_of_older_artifacts_are_read() -> None:
    old = '{"height": 32, "width": 32, "resize": "short_side", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}'
    rule = Preprocess.model_validate_json(old)
    assert rule.short_side is None
    assert not rule.per_axis
    rgb = np.zeros((10, 30, 3), np.uint8)
    rgb[:, 10:20] = 200
    assert (rule.image(rgb) == 200).all()


def test_what_was_cut_cannot_be_restored() -> None:
    rule = Preprocess(height=8, width=8, resize="short_side")
    with pytest.raises(ValueError, match="covers only a part"):
        rule.restore(np.zeros((8, 8), np.float32), 10, 10)
