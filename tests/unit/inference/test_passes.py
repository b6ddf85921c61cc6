"""Passes over an image: whole, in tiles, and in several views."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.options import VIEWS
from byoc_vision.inference.passes import InferenceOptions, make_grid, make_pass, run_pass
from byoc_vision.inference.predictor import Classification, Prediction, Predictor, Segmentation
from byoc_vision.inference.tta import Views
from byoc_vision.precision import choose_precision
from byoc_vision.preprocess import Preprocess, ResizeRule
from byoc_vision.types import ClassInfo, ModelSpec, Task

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
FINE = RANDOM.integers(0, 256, (70, 110, 3), dtype=np.uint8)  # detail that no resized image has


class Colours(nn.Module):
    """The logit of each class: the colour channels of the pixel, or only the mean of its first."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.outputs]


class Corner(nn.Module):
    """The logits of an image: the colours of its upper left pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 0, 0]


class Places(nn.Module):
    """The logit of a pixel: how far right and down it is, for any colour."""

    def forward(self, x: Tensor) -> Tensor:
        down, right = (torch.arange(size, dtype=torch.float32) / 8 for size in x.shape[2:])
        return (down[:, None] + right[None] - 3).expand(len(x), 1, -1, -1)


def predictor(net: nn.Module, outputs: int, task: Task = "segmentation", resize: ResizeRule = "stretch") -> Predictor:
    activation: Literal["sigmoid", "softmax"] = "sigmoid" if outputs == 1 else "softmax"
    config = ModelConfig(
        model=ModelSpec(task=task, architecture="test", outputs=outputs),
        classes=tuple(ClassInfo(name=str(index), value=index) for index in range(max(2, outputs))),
        activation=activation,
        preprocess=Preprocess(height=16, width=24, resize=resize, mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1)),
    )
    return Predictor(config, TorchEngine(net, config, CPU, choose_precision("float32", CPU)))


def answer(model: Predictor, rgb: np.ndarray, options: InferenceOptions) -> Prediction:
    image_pass = make_pass(model, rgb, options)
    done = [image_pass.add(model.forward(prepared.pixels[None])[0]) for prepared in image_pass.inputs()]
    assert done == [False] * (len(done) - 1) + [True]
    return image_pass.prediction()


def mask(model: Predictor, rgb: np.ndarray, options: InferenceOptions) -> Segmentation:
    found = answer(model, rgb, options)
    assert isinstance(found, Segmentation)
    assert found.labels.shape == rgb.shape[:2]
    return found


@pytest.mark.parametrize("options", [InferenceOptions(), InferenceOptions(threshold=0.9)])
def test_a_pass_over_the_whole_image_equals_the_predictor(options: InferenceOptions) -> None:
    model = predictor(Colours(1), 1)
    expected = model.finish(model.forward(model.prepare(FINE).pixels[None])[0], model.prepare(FINE), options.threshold)
    assert isinstance(expected, Segmentation)
    np.testing.assert_array_equal(mask(model, FINE, options).labels, expected.labels)


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_the_batch_size_does_not_change_the_prediction(batch_size: int) -> None:
    model, options = predictor(Colours(1), 1), InferenceOptions(tile="auto", views="flip", threshold=0.4)
    found = run_pass(model, make_pass(model, FINE, options), batch_size)
    assert isinstance(found, Segmentation)
    np.testing.assert_array_equal(found.labels, mask(model, FINE, options).labels)


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("shape", [(70, 110), (16, 24), (5, 7), (1, 200)])
def test_tiles_of_the_models_size_keep_every_pixel(shape: tuple[int, int], views: Views) -> None:
    rgb = FINE[: shape[0]] if shape != (1, 200) else RANDOM.integers(0, 256, (1, 200, 3), dtype=np.uint8)
    rgb = rgb[:, : shape[1]]
    found = mask(predictor(Colours(3), 3), rgb, InferenceOptions(tile="auto", views=views, probabilities=True))
    colours = rgb.astype(float) / 255 / 0.1
    powers = np.exp(colours - colours.max(axis=2, keepdims=True))
    probabilities = found.probabilities
    np.testing.assert_allclose(
        probabilities, (powers / powers.sum(axis=2, keepdims=True)).transpose(2, 0, 1), atol=1e-4
    )
    np.testing.assert_array_equal(found.labels, probabilities.argmax(axis=0))


def test_the_threshold_applies_to_tiles() -> None:
    rgb = np.full((40, 60, 3), 128, np.uint8)  # a probability just above a half
    model = predictor(Colours(1), 1)
    assert mask(model, rgb, InferenceOptions(tile="auto")).labels.all()
    assert not mask(model, rgb, InferenceOptions(tile="auto", threshold=0.7)).labels.any()


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_tiles_of_another_size_are_resized_to_the_models(resize: ResizeRule) -> None:
    rgb = np.zeros((100, 300, 3), np.uint8)
    rgb[:, 150:] = 255
    found = mask(predictor(Colours(1), 1, resize=resize), rgb, InferenceOptions(tile=72))
    assert not found.labels[:, :145].any()
    assert found.labels[:, 155:].all()


def test_a_tile_has_the_proportions_of_the_models_input() -> None:
    config = predictor(Colours(1), 1).config
    grid = make_grid(config, 500, 500, 48)
    assert (grid.rows.tile, grid.columns.tile) == (32, 48)
    grid = make_grid(config, 500, 500, "auto")
    assert (grid.rows.tile, grid.columns.tile) == (16, 24)


def test_views_are_averaged_per_pixel() -> None:
    """Logits that only depend on the position are symmetric after averaging."""
    model, rgb = predictor(Places(), 1), np.zeros((16, 24, 3), np.uint8)
    plain = mask(model, rgb, InferenceOptions()).probabilities[1]
    across = mask(model, rgb, InferenceOptions(views="flip")).probabilities[1]
    around = mask(model, rgb, InferenceOptions(views="flips")).probabilities[1]
    np.testing.assert_allclose(across, (plain + plain[:, ::-1]) / 2, atol=1e-5)
    np.testing.assert_allclose(around, (across + across[::-1]) / 2, atol=1e-5)


def test_views_of_an_image_with_one_class() -> None:
    rgb = np.zeros((16, 24, 3), np.uint8)
    rgb[:, :12, 0] = rgb[:, 12:, 1] = 40
    found = answer(predictor(Corner(), 3, "classification"), rgb, InferenceOptions(views="flip"))
    assert isinstance(found, Classification)
    assert found.probabilities[0] == pytest.approx(found.probabilities[1])
    assert found.probabilities.sum() == pytest.approx(1)


def test_the_error_for_unsupported_options_says_what_to_change() -> None:
    with pytest.raises(InputError, match="remove tile"):
        make_pass(predictor(Corner(), 3, "classification"), FINE, InferenceOptions(tile="auto"))
    with pytest.raises(InputError, match="remove threshold"):
        make_pass(predictor(Colours(3), 3), FINE, InferenceOptions(threshold=0.3))
    many = predictor(Colours(3), 3).config
    many = many.model_copy(update={"model": many.model.model_copy(update={"outputs": 254})})
    with pytest.raises(InputError, match="use smaller tiles"):
        make_grid(many, 10_000, 10_000, 4096)
    assert make_grid(many, 10_000, 10_000, 512).planes == 254


@pytest.mark.parametrize("options", [InferenceOptions(), InferenceOptions(tile=24), InferenceOptions(views="flips")])
def test_small_parts_are_left_out_of_whole_images_and_of_tiles(options: InferenceOptions) -> None:
    model = predictor(Colours(1), 1)
    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[8:40, 8:56] = 255
    rgb[52:60, 80:88] = 255
    whole = mask(model, rgb, options).labels
    assert whole[56, 84] == whole[20, 30] == 1
    model.config = model.config.model_copy(update={"min_area": 0.03})
    large = mask(model, rgb, options).labels
    assert (large[56, 84], large[20, 30]) == (0, 1)
    assert (large[:, :64] == whole[:, :64]).all()
