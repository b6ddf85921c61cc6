"""Random changes: shapes and types kept, masks moved with their images, the same for the same seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from byoc_vision.data.augmentation import AugmentationName, _compose, _trivial, build_augmentation
from byoc_vision.errors import InputError
from byoc_vision.types import Task

NAMES: tuple[AugmentationName, ...] = get_args(AugmentationName)
TASKS: tuple[Task, ...] = get_args(Task)


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A dull gradient with a bright block at the left, and the block's mask; 48 × 64 pixels."""
    image = np.repeat(np.linspace(60, 110, 64, dtype=np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
    mask = np.zeros((48, 64), np.uint8)
    mask[10:34, 6:30] = 1
    image[mask == 1] = 230
    return image, mask


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", TASKS)
def test_shapes_and_types_are_kept(name: AugmentationName, task: Task, scene: tuple[np.ndarray, np.ndarray]) -> None:
    augment = build_augmentation(name, task)
    image, mask = scene
    mask = mask if task == "segmentation" else None
    for seed in range(12):
        changed = augment(image.copy(), mask, seed)
        assert changed.image.shape == image.shape
        assert changed.image.dtype == np.uint8
        if mask is None:
            assert changed.mask is None
        else:
            assert changed.mask is not None
            assert changed.mask.shape == mask.shape
            assert changed.mask.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_no_mask_value_is_invented(name: AugmentationName, scene: tuple[np.ndarray, np.ndarray]) -> None:
    augment = build_augmentation(name, "segmentation")
    image, mask = scene
    labels = mask * 9 + 40
    labels[40:] = 255
    for seed in range(20):
        changed = augment(image, labels, seed)
        assert changed.mask is not None
        assert set(np.unique(changed.mask)) <= {40, 49, 255}


@pytest.mark.parametrize("name", ["flip", "light", "crop", "crop_color_transform"])
def test_masks_move_with_their_images(name: AugmentationName, scene: tuple[np.ndarray, np.ndarray]) -> None:
    augment = build_augmentation(name, "segmentation")
    for seed in range(20):
        changed = augment(*scene, seed)
        assert changed.mask is not None
        grey = changed.image.astype(float).mean(axis=2)
        bright = grey > (grey.min() + grey.max()) / 2
        # Blended edges may count for either side.
        assert (bright != (changed.mask == 1)).mean() < 0.03


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_a_result(name: AugmentationName, scene: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = build_augmentation(name, "segmentation"), build_augmentation(name, "segmentation")
    expected = [first(*scene, seed).image for seed in (1, 2, 3)]
    for seed, image in zip((3, 1, 2), (expected[2], expected[0], expected[1]), strict=True):
        np.testing.assert_array_equal(second(*scene, seed).image, image)
    assert name == "none" or any((image != expected[0]).any() for image in [*expected[1:], second(*scene, 9).image])


def test_none_changes_nothing(scene: tuple[np.ndarray, np.ndarray]) -> None:
    changed = build_augmentation("none", "segmentation")(*scene, 5)
    assert changed.image is scene[0]
    assert changed.mask is scene[1]


def test_flip_only_flips(scene: tuple[np.ndarray, np.ndarray]) -> None:
    flipped = 0
    augment = build_augmentation("flip", "segmentation")
    for seed in range(40):
        changed = augment(*scene, seed)
        if (changed.image == scene[0]).all():
            continue
        np.testing.assert_array_equal(changed.image, scene[0][:, ::-1])
        np.testing.assert_array_equal(changed.mask, scene[1][:, ::-1])
        flipped += 1
    assert 8 < flipped < 32


def test_steps_are_drawn_independently(scene: tuple[np.ndarray, np.ndarray]) -> None:
    """Each of the four combinations of flipped and brightness changed occurs."""
    augment = build_augmentation("light", "segmentation")
    seen = set()
    for seed in range(60):
        changed = augment(*scene, seed)
        assert changed.mask is not None
        is_flipped = changed.mask[:, :32].sum() < changed.mask[:, 32:].sum()
        has_same_brightness = abs(int(changed.image.max()) - 230) <= 1
        seen.add((is_flipped, has_same_brightness))
    assert len(seen) == 4


def test_what_comes_in_at_the_borders_is_not_black() -> None:
    augment = build_augmentation("light", "segmentation")
    image, mask = np.full((48, 64, 3), 200, np.uint8), np.ones((48, 64), np.uint8)
    for seed in range(30):
        changed = augment(image, mask, seed)
        assert changed.image.min() > 100
        assert changed.mask is not None
        assert changed.mask.all()


def test_the_built_in_algorithms_names_change_what_they_say(scene: tuple[np.ndarray, np.ndarray]) -> None:
    """Colours with crop_color and crop_color_transform alone; a straight edge leans with the latter alone."""
    image, mask = scene
    grey, edge = np.full_like(image, 120), np.zeros_like(mask)
    edge[:, 32:] = 1
    for name, recolours, leans in (
        ("crop", False, False),
        ("crop_color", True, False),
        ("crop_color_transform", True, True),
    ):
        augment = build_augmentation(name, "segmentation")
        changes = [augment(grey, edge, seed) for seed in range(12)]
        assert any((changed.image != 120).any() for changed in changes) is recolours, name
        straight = [(changed.mask == changed.mask[:1]).all() for changed in changes if changed.mask is not None]
        assert all(straight) is not leans, name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("strnog", "did you mean strong?"),
        ("crop_colour", "did you mean crop_color?"),
        ("zoom", "use one of none, flip,"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(InputError) as raised:
        build_augmentation(name, "classification")
    assert f"augmentation={name} is not known; {hint}" in str(raised.value)


def test_names_are_spelt_as_one_likes(scene: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = build_augmentation("crop_color", "segmentation"), build_augmentation("Crop-Color", "segmentation")
    np.testing.assert_array_equal(one(*scene, 4).image, other(*scene, 4).image)


def test_a_channel_that_is_not_used_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_augmentation("light", "classification", folder=tmp_path)
    assert "`augmentation` is not used: augmentation=light is not one of its files" in caplog.text


def test_albumentations_is_imported_late_and_does_not_call_home() -> None:
    code = (
        "import sys, urllib.request, numpy as np\n"
        "from byoc_vision.data.augmentation import build_augmentation\n"
        "augment = build_augmentation('flip', 'classification')\n"
        "assert 'albumentations' not in sys.modules\n"
        "def refuse(*args, **kwargs): raise SystemExit('the network was asked')\n"
        "urllib.request.OpenerDirector.open = refuse\n"
        "augment(np.zeros((4, 4, 3), np.uint8), None, 0)\n"
        "assert 'albumentations' in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=100)


class TestTrivial:
    """One change of 14; each of them beside torchvision's, which draws from torch's generator."""

    def changes(self) -> list[Any]:
        return list(_trivial("classification", True, 48, 64)[-1].transforms)

    def test_it_has_the_fourteen_changes_of_the_paper(self) -> None:
        assert len(self.changes()) == 14
        assert len(v2.TrivialAugmentWide._AUGMENTATION_SPACE) == 14

    @pytest.mark.parametrize(
        ("place", "change", "strength"),
        [
            (6, functional.adjust_brightness, 0.99),
            (7, functional.adjust_contrast, 0.99),
            (8, functional.adjust_saturation, 0.99),
        ],
    )
    def test_factors_reach_as_far_as_in_the_paper(self, place: int, change: Any, strength: float) -> None:
        image = np.random.default_rng(0).integers(60, 200, (48, 64, 3), dtype=np.uint8)
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        least, most = (change(pixels, 1 + sign * strength).permute(1, 2, 0).float() for sign in (-1, 1))
        low, high = torch.minimum(least, most) - 2, torch.maximum(least, most) + 2
        spreads = []
        for seed in range(40):
            transform = self.changes()[place]
            transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
            changed = torch.from_numpy(transform(image=image)["image"]).float()
            assert bool(((changed >= low) & (changed <= high)).all())
            spreads.append(float((changed - torch.from_numpy(image).float()).abs().mean()))
        assert max(spreads) > 0.7 * float((least - torch.from_numpy(image).float()).abs().mean())

    @pytest.mark.parametrize(("place", "change"), [(12, functional.autocontrast), (13, functional.equalize)])
    def test_changes_without_strength_are_those_of_the_paper(self, place: int, change: Any) -> None:
        image = np.random.default_rng(0).integers(60, 200, (48, 64, 3), dtype=np.uint8)
        expected = change(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
        changed = self.changes()[place](image=image)["image"]
        assert np.abs(changed.astype(int) - expected).max() <= 5, "other rounding"

    def test_images_change_in_many_ways_and_some_hardly(self, scene: tuple[np.ndarray, np.ndarray]) -> None:
        augment = build_augmentation("trivial", "classification", crops=False)
        image = scene[0]
        unchanged = 0
        for seed in range(100):
            changed = augment(image, None, seed).image
            unchanged += any(np.array_equal(changed, each) for each in (image, image[:, ::-1]))
        assert 3 <= unchanged <= 30, "1 of 14, and others at low strength"

    def test_bands_keep_their_values_apart(self) -> None:
        image = np.random.default_rng(0).integers(0, 256, (32, 32, 6), dtype=np.uint8)
        augment = build_augmentation("trivial", "segmentation", channels=6)
        for seed in range(30):
            assert augment(image, np.zeros((32, 32), np.uint8), seed).image.shape == image.shape


@pytest.mark.parametrize("name", ["strong", "crop", "trivial"])
def test_without_crops_nothing_is_magnified(name: str) -> None:
    steps = [type(step).__name__ for step in _compose(name, "classification", True, False, 32, 32).transforms]
    assert steps
    assert "RandomResizedCrop" not in steps
