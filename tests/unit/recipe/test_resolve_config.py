"""Decisions that a job's data and hyperparameters do not allow."""

from __future__ import annotations

import pytest

from byoc_vision.data.samples import Dataset
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.models.pretrained import PretrainedInfo
from byoc_vision.preprocess import Band, Preprocess
from byoc_vision.recipe.resolve_config import check_task, model_config_of, preprocess
from byoc_vision.types import ClassInfo, ModelSpec

SPEC = ModelSpec(task="segmentation", architecture="unet", outputs=1)


def masks(*values: int) -> Dataset:
    return Dataset("segmentation", tuple(ClassInfo(f"class {value}", value) for value in values), (), ())


def test_a_model_that_no_server_loads_is_not_trained() -> None:
    with pytest.raises(InputError, match=r"preprocess\.height is 100000000; .*change image_size"):
        model_config_of(masks(0, 255), SPEC, Preprocess(height=10**8, width=64))
    assert model_config_of(masks(0, 255), SPEC, Preprocess(height=64, width=64)).activation == "sigmoid"


def test_the_threshold_and_the_least_area_are_for_masks_of_two_classes() -> None:
    given, rule = parse({"mask_threshold": "0.3", "min_area": "auto"}), Preprocess(height=64, width=64)
    config = model_config_of(masks(0, 255), SPEC, rule, given)
    assert (config.threshold, config.min_area) == (0.3, 0.0)
    with pytest.raises(InputError, match="mask_threshold and min_area are for masks of two classes, and these have 3"):
        model_config_of(masks(0, 1, 2), SPEC.model_copy(update={"outputs": 3}), rule, given)


def test_all_that_the_task_does_not_have_is_named() -> None:
    with pytest.raises(InputError, match="segmentation does not go with these hyperparameters:") as caught:
        check_task(parse({"mixup": "0.2", "layer_decay": "0.5"}), "segmentation")
    assert "mixup and cutmix mix the labels" in str(caught.value)
    assert "layer_decay is for classification" in str(caught.value)
    check_task(parse({"mixup": "0.2", "layer_decay": "0.5"}), "classification")


def test_what_is_trained_resizes_each_side_by_its_own_interpolation() -> None:
    assert preprocess(parse({}), SPEC, None).per_axis


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [("auto", 0.1, 0.4), ("Inception", 0.5, 0.5), ("imagenet", 0.485, 0.229), ("none", 0, 1)],
)
def test_the_stated_normalisation_comes_before_that_of_the_weights(said: str, mean: float, std: float) -> None:
    pretrained = PretrainedInfo("file", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    rule = preprocess(parse({"normalization": said}), SPEC, pretrained)
    assert (rule.mean[0], rule.std[0]) == (mean, std)


BANDS = tuple(Band(low=100 * index, high=3000, mean=0.4, std=0.2) for index in range(4))


class TestBands:
    def test_those_of_an_earlier_model_win(self) -> None:
        earlier = tuple(band.model_copy(update={"high": 9000.0}) for band in BANDS)
        pretrained = PretrainedInfo("model.tar.gz", (0.4,) * 4, (0.2,) * 4, bands=earlier)
        assert preprocess(parse({}), SPEC, pretrained, BANDS).bands == earlier
        assert preprocess(parse({}), SPEC, None, BANDS).bands == BANDS

    @pytest.mark.parametrize("said", ["imagenet", "none"])
    def test_a_stated_normalisation_is_refused(self, said: str) -> None:
        with pytest.raises(InputError, match=rf"normalization={said} is for red, green and blue, .* 4 bands.* leave"):
            preprocess(parse({"normalization": said}), SPEC, None, BANDS)
