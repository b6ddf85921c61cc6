"""The way from an image to an answer, on networks small enough to reckon by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Classification, Predictor, Segmentation
from byoc_vision.models.build import build_model
from byoc_vision.precision import choose_precision
from byoc_vision.preprocess import Preprocess, ResizeRule
from byoc_vision.types import ClassInfo, ModelSpec

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """A logit for each class: how bright the pixel is, with alternating sign."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.signs = torch.tensor([(-1.0) ** (index + 1) if outputs > 1 else 1.0 for index in range(outputs)])

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1, keepdim=True) * self.signs.view(1, -1, 1, 1)


def segmenter(values: tuple[int, ...], resize: ResizeRule = "stretch", threshold: float = 0.5) -> Predictor:
    binary = len(values) == 2
    activation: Literal["sigmoid", "softmax"] = "sigmoid" if binary else "softmax"
    config = ModelConfig(
        model=ModelSpec(task="segmentation", architecture="unet", outputs=1 if binary else len(values)),
        classes=tuple(ClassInfo(name=f"class_{value}", value=value) for value in values),
        activation=activation,
        threshold=threshold,
        preprocess=Preprocess(height=32, width=48, resize=resize, mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1)),
    )
    return Predictor(
        config, TorchEngine(Brightness(config.model.outputs), config, CPU, choose_precision("float32", CPU))
    )


@pytest.fixture
def half_white() -> np.ndarray:
    """Black on the left, white on the right: uint8 [70, 110, 3]."""
    image = np.zeros((70, 110, 3), dtype=np.uint8)
    image[:, 55:] = 255
    return image


@given(st.lists(st.none() | st.integers(0, 255), min_size=1, max_size=5))
def test_a_mask_holds_the_value_of_each_class(values: list[int | None]) -> None:
    labels = np.arange(60, dtype=np.uint8).reshape(6, 10) % len(values)
    classes = tuple(ClassInfo(name=str(index), value=value) for index, value in enumerate(values))
    mask = Segmentation(labels, classes, lambda: np.empty(0)).mask
    expected = [index if value is None else value for index, value in enumerate(values)]
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, np.array(expected)[labels])


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (7, 3)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_mask_has_the_images_size_and_the_training_masks_values(
    half_white: np.ndarray, values: tuple[int, int], resize: ResizeRule
) -> None:
    answer = segmenter(values, resize).predict([half_white])[0]
    assert isinstance(answer, Segmentation)
    assert answer.mask.shape == (70, 110)
    assert answer.mask.dtype == np.uint8
    assert (answer.mask[:, :50] == values[0]).all()
    assert (answer.mask[:, 60:] == values[1]).all()


def test_several_classes_are_distinguished(half_white: np.ndarray) -> None:
    answer = segmenter((5, 9, 200)).predict([half_white])[0]
    assert isinstance(answer, Segmentation)
    assert set(np.unique(answer.mask)) == {5, 9}
    assert answer.probabilities.shape == (3, 70, 110)
    np.testing.assert_allclose(answer.probabilities.sum(axis=0), 1, rtol=1e-5)
    assert (answer.probabilities.argmax(axis=0) == answer.labels).all()


def test_the_probabilities_of_a_binary_answer(half_white: np.ndarray) -> None:
    answer = segmenter((0, 255)).predict([half_white])[0]
    assert isinstance(answer, Segmentation)
    np.testing.assert_allclose(answer.probabilities.sum(axis=0), 1, rtol=1e-5)
    assert ((answer.probabilities[1] > 0.5) == (answer.labels == 1)).all()


def test_the_threshold_of_the_card_decides() -> None:
    grey = np.full((32, 48, 3), 128, dtype=np.uint8)  # a probability just above a half
    for threshold, expected in ((0.4, 1), (0.9, 0)):
        answer = segmenter((0, 1), threshold=threshold).predict([grey])[0]
        assert isinstance(answer, Segmentation)
        assert (answer.labels == expected).all()


def classifier() -> Predictor:
    torch.manual_seed(0)
    spec = ModelSpec(task="classification", architecture="resnet10t", outputs=3)
    config = ModelConfig(
        model=spec,
        classes=tuple(ClassInfo(name=name) for name in ("cat", "dog", "fish")),
        activation="softmax",
        preprocess=Preprocess(height=32, width=32, resize="short_side"),
    )
    return Predictor(config, TorchEngine(build_model(spec), config, CPU, choose_precision("float32", CPU)))


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (int(h), int(w), 3), dtype=np.uint8) for h, w in draw.integers(20, 90, (9, 2))]


def test_classes_are_ranked_best_first(images: list[np.ndarray]) -> None:
    answer = classifier().predict(images[:1])[0]
    assert isinstance(answer, Classification)
    assert answer.probabilities.sum() == pytest.approx(1)
    ranked = answer.ranked()
    assert [score for _, score in ranked] == sorted((float(p) for p in answer.probabilities), reverse=True)
    assert {name for name, _ in ranked} == {"cat", "dog", "fish"}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_images_with_several_classes_get_a_probability_of_each(count: int, images: list[np.ndarray]) -> None:
    spec = ModelSpec(task="classification", architecture="test", outputs=count)
    config = ModelConfig(
        model=spec,
        classes=tuple(ClassInfo(name=str(index)) for index in range(count)),
        activation="sigmoid",
        threshold=0.3,
        preprocess=Preprocess(height=32, width=32),
    )
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, count))
    answer = Predictor(config, TorchEngine(net, config, CPU, choose_precision("float32", CPU))).predict(images[:1])[0]
    assert isinstance(answer, Classification)
    assert answer.threshold == 0.3
    with torch.no_grad():
        prepared = config.preprocess.image(images[0]).transpose(2, 0, 1)[None] / 255
        mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (config.preprocess.mean, config.preprocess.std))
        expected = net(torch.from_numpy((prepared - mean) / std).float()).sigmoid()[0]
    np.testing.assert_allclose(answer.probabilities, expected.numpy(), atol=1e-5)


def test_alone_or_in_a_batch_the_answer_is_the_same(images: list[np.ndarray]) -> None:
    predictor = classifier()
    together = predictor.predict(images, batch_size=4)
    for image, answer in zip(images, together, strict=True):
        alone = predictor.predict([image])[0]
        assert isinstance(alone, Classification)
        assert isinstance(answer, Classification)
        np.testing.assert_allclose(alone.probabilities, answer.probabilities, atol=1e-5)


def test_images_are_prepared_in_the_same_way_in_many_threads(images: list[np.ndarray]) -> None:
    predictor = classifier()
    with ThreadPoolExecutor(8) as pool:
        prepared = list(pool.map(predictor.prepare, images * 8))
    for one, other in zip(prepared, images * 8, strict=True):
        np.testing.assert_array_equal(one.pixels, predictor.prepare(other).pixels)


def test_a_saved_predictor_answers_as_before(tmp_path: Path, images: list[np.ndarray]) -> None:
    predictor = classifier()
    artifact.save(tmp_path, predictor.config, predictor.engine.model.net.state_dict())
    again = Predictor.load(tmp_path, "cpu", precision="float32")
    again.warm_up()
    for one, other in zip(predictor.predict(images), again.predict(images), strict=True):
        assert isinstance(one, Classification)
        assert isinstance(other, Classification)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    predictor = classifier()
    config = predictor.config.model_copy(
        update={"model": predictor.config.model.model_copy(update={"architecture": "resnet18"})}
    )
    artifact.save(tmp_path, config, predictor.engine.model.net.state_dict())
    with pytest.raises(DataError, match=r"do not fit the model in model\.json"):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_numbers_are_refused(tmp_path: Path, value: float) -> None:
    predictor = classifier()
    state = predictor.engine.model.net.state_dict()
    state["fc.weight"][0, 0] = value
    artifact.save(tmp_path, predictor.config, state)
    with pytest.raises(DataError, match=r"model\.safetensors: fc\.weight holds values that are not finite numbers"):
        Predictor.load(tmp_path, "cpu")


def test_large_weights_are_finite_though_their_sum_is_not(tmp_path: Path) -> None:
    predictor = classifier()
    state = predictor.engine.model.net.state_dict()
    state["fc.bias"][:] = 3e38
    artifact.save(tmp_path, predictor.config, state)
    Predictor.load(tmp_path, "cpu").warm_up()


def test_logits_that_are_not_finite_end_the_warm_up(tmp_path: Path) -> None:
    """The weights are finite numbers, and their products are not."""
    predictor = classifier()
    state = predictor.engine.model.net.state_dict()
    state["fc.weight"][:] = 3e38
    state["fc.bias"][:] = 3e38
    artifact.save(tmp_path, predictor.config, state)
    loaded = Predictor.load(tmp_path, "cpu", precision="float32")
    with pytest.raises(DataError, match="logits for a test image are not finite numbers"):
        loaded.warm_up()


def test_a_head_that_no_memory_holds_is_refused_before_it_is_built(tmp_path: Path) -> None:
    predictor = classifier()
    spec = predictor.config.model.model_copy(update={"hidden_units": (10**9,)})
    artifact.save(
        tmp_path, predictor.config.model_copy(update={"model": spec}), predictor.engine.model.net.state_dict()
    )
    with pytest.raises(DataError, match=r"model\.hidden_units=\[1000000000\] take more weights than"):
        Predictor.load(tmp_path, "cpu")


@pytest.mark.parametrize("architecture", ["../../etc/passwd", "hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp"])
def test_a_network_that_is_not_known_is_a_damaged_model(tmp_path: Path, architecture: str) -> None:
    predictor = classifier()
    spec = predictor.config.model.model_copy(update={"architecture": architecture})
    artifact.save(
        tmp_path, predictor.config.model_copy(update={"model": spec}), predictor.engine.model.net.state_dict()
    )
    with pytest.raises(DataError, match=r"model\.json: model=.* is not known"):
        Predictor.load(tmp_path, "cpu")


def test_evaluating_a_network_leaves_no_trace_in_its_statistics(images: list[np.ndarray]) -> None:
    predictor = classifier()
    before = {name: value.clone() for name, value in predictor.engine.model.net.state_dict().items()}
    predictor.engine.model.train()
    predictor.predict(images)
    assert all(torch.equal(before[name], value) for name, value in predictor.engine.model.net.state_dict().items())
