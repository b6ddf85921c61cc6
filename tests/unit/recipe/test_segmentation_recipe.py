"""What recipe=auto chooses for a segmentation network with a pretrained encoder."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from byoc_vision.data.preflight.report import Range
from byoc_vision.hyperparameters import parse
from byoc_vision.recipe.auto_recipe import Facts, choose
from byoc_vision.recipe.segmentation_recipe import (
    CPU_AREA,
    DEFAULT_AREA,
    GPU_AREA,
    LEAST_STEPS,
    MOST_EPOCHS,
    OBJECT_STEPS,
    SCENE_STEPS,
    STEPS_SHARE,
    Budgeted,
    Scene,
    area_in_time,
    fit,
)


def scene(height: int, width: int, shares: tuple[float, ...], *, spread: int = 0, gpu: bool = False) -> Scene:
    tall, wide = (Range(side - spread, side, side + spread) for side in (height, width))
    return Scene(len(shares), tall, wide, shares, gpu=gpu)


STREETS = scene(360, 480, (0.5, 0.3, 0.19, 0.007, 0.003))
CARS = scene(1280, 1918, (0.79, 0.21))
CRACKS = scene(1280, 1918, (0.99, 0.01))


def chosen(of: Scene, images: int = 367, budgeted: Budgeted | None = None, **given: str) -> dict[str, object]:
    facts = Facts("segmentation", images, pretrained=True, encoder=True, scene=of)
    return {choice.name: choice.value for choice in choose(parse(given), facts, frozenset(given), budgeted)[1]}


def test_streets_are_seen_at_their_size_and_rare_classes_get_a_weight() -> None:
    assert chosen(STREETS) == {
        "image_size": (352, 480),
        "batch_size": 4,
        "class_weights": "sqrt",
        "encoder_lr_factor": 0.3,
        "warmup_epochs": 0.5,
    }


@pytest.mark.parametrize(
    ("of", "given"),
    [
        (scene(360, 480, (0.5, 0.3, 0.2)), {}),
        (STREETS._replace(shares=()), {}),
        (STREETS, {"objective": "pixel_accuracy"}),
        (STREETS, {"class_weights": "none"}),
        (CRACKS, {}),
    ],
    ids=["none is rare", "not measured", "pixels count alike", "set by the job", "two classes"],
)
def test_classes_keep_their_weights(of: Scene, given: dict[str, str]) -> None:
    assert "class_weights" not in chosen(of, **given)


@pytest.mark.parametrize(
    ("of", "empty", "objective"), [(CRACKS, 0.9, "miou"), (CRACKS, 0.4, None), (STREETS, 0.9, None)]
)
def test_the_objective_counts_what_is_found(of: Scene, empty: float, objective: str | None) -> None:
    """A model that finds no crack has a Dice of 0.9 where a tenth of the images show one."""
    scene = of._replace(empty=empty)
    assert chosen(scene).get("objective") == objective
    assert "objective" not in chosen(scene, objective="dice")
    random = Facts("segmentation", 100, scene=scene)
    assert {choice.name for choice in choose(parse({}), random, frozenset())[1]} == (
        {"objective"} if objective else set()
    )


def test_a_large_object_is_seen_whole_and_larger() -> None:
    choices = chosen(CARS, images=84)
    assert choices["image_size"] == (384, 576)
    assert not {"crop_size", "random_scale", "class_crops", "class_weights"} & set(choices)


@pytest.mark.parametrize(
    "of",
    [scene(500, 375, (0.5, 0.3, 0.2), spread=60), scene(128, 128, (0.5, 0.3, 0.2)), Scene(3)],
    ids=["many sizes", "small", "not measured"],
)
def test_images_of_many_sizes_and_small_ones_keep_the_default_size(of: Scene) -> None:
    assert not {"image_size", "crop_size", "random_scale", "class_crops"} & set(chosen(of))


def test_a_size_that_the_job_sets_stays_and_no_parts_are_cut() -> None:
    assert not {"image_size", "crop_size", "random_scale"} & set(chosen(STREETS, image_size="192, 256"))


def test_a_batch_that_is_to_fill_the_memory_is_of_the_default_size() -> None:
    assert not {"image_size", "crop_size", "batch_size"} & set(chosen(STREETS, auto_batch_size="true"))


@pytest.mark.parametrize(("of", "least"), [(STREETS, LEAST_STEPS), (CARS, OBJECT_STEPS)], ids=["streets", "cars"])
@pytest.mark.parametrize("images", [1, 10, 84, 367, 1_000, 20_000])
def test_few_images_are_seen_until_there_are_steps_enough(images: int, of: Scene, least: int) -> None:
    facts = Facts("segmentation", images, pretrained=True, encoder=True, scene=of)
    settings, _ = choose(parse({}), facts, frozenset())
    steps = settings.epochs * max(1, images // settings.batch_size)
    assert 10 <= settings.epochs <= MOST_EPOCHS
    assert steps >= least or settings.epochs == MOST_EPOCHS


def test_a_network_that_is_trained_whole_learns_with_one_rate_and_needs_no_more_epochs() -> None:
    choices = chosen(CARS._replace(decoder=True), images=84)
    assert not {"encoder_lr_factor", "epochs"} & set(choices)
    assert choices["image_size"] == (384, 576)


def test_a_job_that_sets_its_epochs_keeps_them() -> None:
    assert "epochs" not in chosen(CARS, images=20, epochs="2")


def test_a_job_that_sets_its_steps_warms_up_over_a_tenth_of_them_at_most() -> None:
    choices = chosen(CARS, images=84, steps="105")
    assert "epochs" not in choices
    assert choices["warmup_epochs"] == 0.5
    assert chosen(CARS, images=8_000, steps="100")["warmup_epochs"] == 0.02


def test_a_budget_decides_on_the_epochs_alone() -> None:
    assert "epochs" in chosen(CARS, images=84)
    assert "epochs" not in chosen(CARS, images=84, budget="20m")


@example(64, 8192, 65_536, 32)
@example(8192, 64, 65_536, 32)
@given(
    st.integers(64, 8192),
    st.integers(64, 8192),
    st.sampled_from([65_536, CPU_AREA, GPU_AREA]),
    st.sampled_from([8, 16, 32]),
)
def test_a_fitted_size_has_the_multiples_the_area_and_about_the_proportions(
    height: int, width: int, area: int, multiple: int
) -> None:
    size = fit((height, width), area, multiple)
    assert all(side % multiple == 0 and side >= multiple for side in size)
    assert math.prod(size) <= 1.02 * area or min(size) == multiple
    assert all(side <= own + multiple for side, own in zip(size, (height, width), strict=True))
    if max(height, width) <= 4 * min(height, width) and area >= 65_536 and min(height, width) >= 256:
        assert abs(math.log(size[0] / size[1] / (height / width))) < 0.26


def in_time(minutes: float, seconds_an_image: float = 0.11) -> Budgeted:
    return Budgeted(60 * minutes, lambda settings: seconds_an_image)


@pytest.mark.parametrize(
    ("of", "minutes", "size"),
    [
        (STREETS, 5, None),
        (STREETS, 10, (256, 352)),
        (STREETS, 20, (352, 480)),
        (STREETS, 6_000, (352, 480)),
        (CARS, 1, None),
        (CARS, 3, (224, 352)),
        (CARS, 15, (384, 576)),
        (CARS, 6_000, (384, 576)),
        (CARS._replace(gpu=True), 6_000, (640, 960)),
        (scene(128, 128, (0.5, 0.3, 0.2)), 6_000, None),
        (scene(500, 375, (0.5, 0.3, 0.2), spread=60), 6_000, None),
    ],
)
def test_a_budget_decides_how_large_images_are(of: Scene, minutes: float, size: tuple[int, int] | None) -> None:
    images = 84 if of.is_one_object else 367
    assert chosen(of, images, in_time(minutes), budget=f"{minutes}m").get("image_size") == size


@pytest.mark.parametrize("name", ["image_size", "crop_size"])
def test_a_budget_leaves_the_size_that_the_job_sets_and_measures_nothing(name: str) -> None:
    def fail(settings: object) -> float:
        raise AssertionError("measured")

    size = "128" if name == "crop_size" else "192, 256"
    assert "image_size" not in chosen(STREETS, 367, Budgeted(6e5, fail), budget="2000m", **{name: size})
    for begun in ({"image_size": None}, {"image_size": [256, 352]}):
        found = chosen(STREETS, 367, Budgeted(6e5, fail, begun), budget="2000m").get("image_size")
        assert found == (begun["image_size"] and (256, 352)), "as the job began"


@given(st.integers(1, 100_000), st.floats(1, 1e6), st.floats(1e-4, 10))
def test_steps_enough_fit_into_the_time_with_the_chosen_area(images: int, seconds: float, each: float) -> None:
    """Not more than a pass of all images twice, where even that many steps take less."""
    settings = parse({"batch_size": "4"})
    area = area_in_time(images, STREETS, settings, Budgeted(seconds, lambda settings: each))
    step = 4 * each * area / DEFAULT_AREA
    fitting = STEPS_SHARE * seconds / step if area else 0
    wanted = min(max(SCENE_STEPS, images / 2), MOST_EPOCHS * images / 4)
    assert area < 100 or fitting == pytest.approx(wanted, rel=0.02)
