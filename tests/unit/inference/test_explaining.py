"""The parts of an image that support a class: a network that we compute by hand, and usual networks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support import tiny_models
from support.nets import predictor_of
from torch import Tensor, nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError
from byoc_vision.inference.explaining import Explainer, class_index, draw_heat
from byoc_vision.inference.files import explain_files, find_images
from byoc_vision.preprocess import Preprocess

NAMES = ("coat", "dress", "hat & scarf")  # of tiny_models: here they stand for red, green, blue


class Colours(nn.Module):
    """A timm-like classifier: a feature map with one channel per colour; a logit is its mean. last: channels last."""

    num_features = 3

    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.pool = nn.AvgPool2d(8)

    def forward_features(self, x: Tensor) -> Tensor:
        features: Tensor = self.pool(x).relu()
        return features.permute(0, 2, 3, 1) if self.last else features

    def forward_head(self, features: Tensor) -> Tensor:
        return features.mean(dim=(1, 2) if self.last else (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def card_of(rule: Preprocess) -> ModelConfig:
    return tiny_models.classification_card(rule)


def explainer(rule: Preprocess, last: bool = False) -> Explainer:
    return Explainer(predictor_of(Colours(last), card_of(rule)))


def red_left_green_right(height: int = 64, width: int = 64) -> np.ndarray:
    """An image with more red than green."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width * 5 // 8, 0] = 255
    image[:, width * 6 // 8 :, 1] = 255
    return image


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_the_heat_of_a_class_is_where_its_colour_is(last: bool) -> None:
    explain = explainer(Preprocess(height=64, width=64), last).explain
    red, green = explain(red_left_green_right()), explain(red_left_green_right(), "dress")
    assert (red.class_name, green.class_name) == ("coat", "dress")
    assert red.probability > green.probability > 0
    for found, where, elsewhere in ((red, np.s_[:, :32], np.s_[:, 56:]), (green, np.s_[:, 56:], np.s_[:, :32])):
        assert found.heat.shape == (64, 64)
        assert found.heat[where].min() > 0.9
        assert found.heat[elsewhere].max() < 0.1


def test_without_heat_nothing_is_drawn() -> None:
    rule = Preprocess(height=64, width=64)
    found = explainer(rule).explain(red_left_green_right(), "hat & scarf")
    assert not found.heat.any()
    assert np.array_equal(draw_heat(card_of(rule), red_left_green_right(), found.heat), red_left_green_right())


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "short_side"])
def test_heat_is_drawn_over_the_right_part_of_the_image(resize: str) -> None:
    rule = Preprocess(height=64, width=64, resize=resize)
    image = np.full((100, 300, 3), 60, np.uint8)
    image[30:70, 120:180, 0] = 255
    drawn = draw_heat(card_of(rule), image, explainer(rule).explain(image, "coat").heat)
    seen = rule.visible(image)
    assert drawn.shape == seen.shape
    change = np.abs(drawn.astype(int) - seen).sum(axis=2)
    y, x = (np.average(axis, weights=change) for axis in np.indices(change.shape))
    assert y == pytest.approx(seen.shape[0] / 2, abs=20)  # a place of the map, at the most
    assert x == pytest.approx(seen.shape[1] / 2, abs=20)


class Strided(Colours):
    """Convolutions of stride 2 that start at the first pixel, as in most networks."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 3, 3, stride=2, padding=1, groups=3, bias=False) for _ in range(4)]
        for layer in layers:
            nn.init.zeros_(layer.weight)
            with torch.no_grad():
                layer.weight[:, 0, 1, 1] = 1
        self.pool = nn.Sequential(*layers)


def test_cells_are_moved_to_their_receptive_fields() -> None:
    rule = Preprocess(height=96, width=96)
    image = np.zeros((96, 96, 3), np.uint8)
    image[44:53, 28:37, 0] = 255  # about 48, 32: the fourth and the third place that it looks at
    heat = Explainer(predictor_of(Strided(), card_of(rule))).explain(image, "coat").heat
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert (y, x) == (pytest.approx(48, abs=1.5), pytest.approx(32, abs=1.5))


def test_large_images_are_drawn_smaller() -> None:
    rule = Preprocess(height=64, width=64)
    assert draw_heat(card_of(rule), np.zeros((3000, 8000, 3), np.uint8), np.ones((64, 64), np.float32)).shape == (
        384,
        1024,
        3,
    )


@pytest.mark.parametrize("hidden", [(), (8,)], ids=["plain", "hidden layers"])
def test_usual_networks_are_explained(hidden: tuple[int, ...]) -> None:
    config = card_of(Preprocess(height=64, width=64))
    config = config.model_copy(update={"model": config.model.model_copy(update={"hidden_units": hidden})})
    predictor = predictor_of(tiny_models.network(config), config)
    explained = Explainer(predictor).explain(red_left_green_right())
    answer = predictor.predict([red_left_green_right()])[0]
    assert (explained.class_name, pytest.approx(explained.probability)) == answer.ranked()[0]
    assert explained.heat.max() in (0, pytest.approx(1))


def test_the_error_for_other_models_says_what_to_do() -> None:
    rule = Preprocess(height=64, width=64)
    masks = tiny_models.segmentation_card(rule)
    with pytest.raises(InputError, match="predict --overlay"):
        Explainer(predictor_of(nn.Conv2d(3, 1, 1), masks))
    config = tiny_models.classification_card(rule, name="test_vit")
    with pytest.raises(InputError, match="test_vit has no feature map"):
        Explainer(predictor_of(tiny_models.network(config), config))
    with pytest.raises(InputError, match="larger image_size"):
        explainer(Preprocess(height=8, width=8))
    with pytest.raises(InputError, match="did you mean dress"):
        class_index(config, "dres")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "good.png"), red_left_green_right()[..., ::-1])
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    found = explainer(Preprocess(height=64, width=64))
    outcomes = {o.source.name: o for o in explain_files(found, find_images([tmp_path / "in"]), tmp_path / "out")}
    assert outcomes["good.png"].note.startswith("coat 0.")
    assert cv2.imread(str(tmp_path / "out" / "good.explained.jpg")).shape == (64, 64, 3)
    assert "bad.png is not a" in str(outcomes["bad.png"].error)
    with pytest.raises(InputError, match="not a class of the model"):
        list(explain_files(found, [tmp_path / "in" / "good.png"], tmp_path / "out", "trousers"))
    assert torch.is_grad_enabled()
