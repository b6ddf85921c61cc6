"""Transforms that users bring: what is taken, and what is refused before it can spoil an epoch."""

from __future__ import annotations

import json
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest

from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.errors import InputError
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import Task

SIZE = (48, 64)


def saved(folder: Path, *transforms: albumentations.BasicTransform, **options: object) -> str:
    albumentations.save(albumentations.Compose(list(transforms), **options), folder / "mine.json")
    return "mine.json"


def written(folder: Path, transform: object) -> str:
    (folder / "mine.json").write_text(json.dumps({"__version__": "1.3.0", "transform": transform}))
    return "mine.json"


def refusal(name: str, folder: Path | None, task: Task = "segmentation") -> str:
    with pytest.raises(InputError) as raised:
        build_augmentation(name, task, folder=folder, size=SIZE)
    return str(raised.value)


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    mask = np.ones(SIZE, np.uint8)
    mask[:20] = 3
    return image, mask


class TestTaken:
    @pytest.mark.parametrize(
        "name", ["mine.json", "augmentation/mine.json", "/opt/ml/input/data/augmentation/mine.json"]
    )
    def test_with_or_without_its_folder(self, tmp_path: Path, name: str, scene: tuple[np.ndarray, np.ndarray]) -> None:
        saved(tmp_path, albumentations.HorizontalFlip(p=1))
        changed = build_augmentation(name, "segmentation", folder=tmp_path, size=SIZE)(*scene, 0)
        np.testing.assert_array_equal(changed.image, scene[0][:, ::-1])
        np.testing.assert_array_equal(changed.mask, scene[1][:, ::-1])

    def test_a_single_transform(self, tmp_path: Path, scene: tuple[np.ndarray, np.ndarray]) -> None:
        albumentations.save(albumentations.VerticalFlip(p=1), tmp_path / "one.json")
        changed = build_augmentation("one.json", "classification", folder=tmp_path, size=SIZE)(scene[0], None, 0)
        np.testing.assert_array_equal(changed.image, scene[0][::-1])

    def test_a_seed_is_a_result_also_of_nested_transforms(
        self, tmp_path: Path, scene: tuple[np.ndarray, np.ndarray]
    ) -> None:
        noise = albumentations.OneOf([albumentations.GaussNoise(p=1), albumentations.GaussianBlur(p=1)], p=0.7)
        name = saved(tmp_path, noise, albumentations.HorizontalFlip(), albumentations.Rotate((-20, 20)))
        one, other = (build_augmentation(name, "segmentation", folder=tmp_path, size=SIZE) for _ in range(2))
        results = [one(*scene, seed) for seed in range(6)]
        for seed in (5, 0, 3):
            again = other(*scene, seed)
            np.testing.assert_array_equal(again.image, results[seed].image)
            np.testing.assert_array_equal(again.mask, results[seed].mask)
        assert len({result.image.tobytes() for result in results}) > 3

    def test_borders_that_are_filled_are_ignored_and_moved_as_the_image(
        self, tmp_path: Path, scene: tuple[np.ndarray, np.ndarray]
    ) -> None:
        shift = albumentations.Affine(translate_px={"x": (10, 10), "y": (0, 0)}, fill=7, fill_mask=0, p=1)
        changed = build_augmentation(saved(tmp_path, shift), "segmentation", folder=tmp_path, size=SIZE)(*scene, 0)
        assert changed.mask is not None
        assert (changed.mask[:, :10] == IGNORED).all()
        assert (changed.image[:, :10] == 7).all()
        np.testing.assert_array_equal(changed.mask[:, 10:], scene[1][:, :-10])

    def test_a_size_may_change_on_the_way(self, tmp_path: Path, scene: tuple[np.ndarray, np.ndarray]) -> None:
        name = saved(
            tmp_path,
            albumentations.Resize(100, 100),
            albumentations.RandomCrop(90, 90),
            albumentations.Resize(*SIZE, mask_interpolation=cv2.INTER_NEAREST),
        )
        changed = build_augmentation(name, "segmentation", folder=tmp_path, size=SIZE)(*scene, 0)
        assert changed.image.shape == (*SIZE, 3)

    def test_mixing_masks_does_not_matter_for_data_without_masks(self, tmp_path: Path) -> None:
        name = saved(tmp_path, albumentations.Rotate((-20, 20), mask_interpolation=cv2.INTER_LINEAR))
        build_augmentation(name, "classification", folder=tmp_path, size=SIZE)


class TestRefused:
    def test_a_file_without_a_channel(self) -> None:
        assert "mine.json names a file, but there is no channel `augmentation`" in refusal("mine.json", None)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        saved(tmp_path, albumentations.HorizontalFlip())
        assert "no such file; it holds mine.json" in refusal("other.json", tmp_path)

    @pytest.mark.parametrize(
        ("content", "text"),
        [("{oops", "is not readable JSON"), ("[1]", "holds no `transform`"), ("\udcff", "is not readable JSON")],
    )
    def test_what_is_not_a_saved_pipeline(self, tmp_path: Path, content: str, text: str) -> None:
        (tmp_path / "mine.json").write_bytes(content.encode("utf-8", "surrogateescape"))
        message = refusal("mine.json", tmp_path)
        assert f"{tmp_path / 'mine.json'} {text}" in message
        assert "albumentations.save" in message

    @pytest.mark.parametrize(
        "name", ["os.system", "builtins.eval", "pathlib.Path", "albumentations.os.system", "Cutout"]
    )
    def test_a_class_that_is_none_of_albumentations(self, tmp_path: Path, name: str) -> None:
        marker = tmp_path / "it-ran"
        node = {"__class_fullname__": name, "command": f"touch {marker}", "p": 1}
        pipeline = {"__class_fullname__": "Compose", "transforms": [node]}
        assert f"has no transform {name}; save the file with that version" in refusal(
            written(tmp_path, pipeline), tmp_path
        )
        assert not marker.exists()

    def test_code(self, tmp_path: Path) -> None:
        node = {"__class_fullname__": "Lambda", "__name__": "mine"}
        assert "Lambda runs code that the file does not contain; remove it" in refusal(
            written(tmp_path, node), tmp_path
        )

    @pytest.mark.parametrize(
        ("transform", "text"),
        [
            (
                albumentations.Normalize(),
                "Normalize makes float32 of a uint8 image; remove it: the model normalises",
            ),
            (albumentations.ToFloat(p=0.01), "ToFloat makes float32"),
            (albumentations.ToGray(num_output_channels=1), r"ToGray makes [48, 64] of an image with 3 channels"),
            (
                albumentations.RandomSizedBBoxSafeCrop(*SIZE),
                "RandomSizedBBoxSafeCrop does not work with only an image and its",
            ),
            (
                albumentations.Rotate(mask_interpolation=cv2.INTER_LINEAR),
                "new mask values (1); set mask_interpolation=0",
            ),
            (
                albumentations.RandomCrop(32, 40, p=0.1),
                "RandomCrop makes images of 32 × 40 pixels; training takes 48 × 64",
            ),
            (albumentations.Transpose(p=0.1), "Transpose makes images of 64 × 48 pixels"),
            (albumentations.RandomCrop(320, 320), "its transforms do not work on images of 48 × 64 pixels"),
        ],
    )
    def test_a_transform_that_the_model_cannot_take(
        self, tmp_path: Path, transform: albumentations.BasicTransform, text: str
    ) -> None:
        message = refusal(saved(tmp_path, albumentations.HorizontalFlip(), transform), tmp_path)
        assert text in message
        assert str(tmp_path / "mine.json") in message

    def test_all_at_once(self, tmp_path: Path) -> None:
        message = refusal(saved(tmp_path, albumentations.Normalize(), albumentations.ToFloat()), tmp_path)
        assert "Normalize makes" in message
        assert "ToFloat makes" in message

    def test_boxes(self, tmp_path: Path) -> None:
        name = saved(tmp_path, albumentations.HorizontalFlip(), bbox_params=albumentations.BboxParams("coco"))
        assert "Compose needs boxes or keypoints; save it without bbox_params" in refusal(name, tmp_path)

    @pytest.mark.parametrize(
        ("parameters", "text"),
        [
            ({"var_limit": [10, 50]}, "GaussNoise: Argument(s) 'var_limit' are not valid"),
            ({"std_range": [0.1, 9]}, "GaussNoise does not work with only an image and its mask (std_range"),
        ],
    )
    def test_parameters_of_another_version(self, tmp_path: Path, parameters: dict[str, object], text: str) -> None:
        node = {"__class_fullname__": "GaussNoise", "p": 1, **parameters}
        assert text in refusal(written(tmp_path, {"__class_fullname__": "Compose", "transforms": [node]}), tmp_path)

    def test_parameters_that_the_pipeline_does_not_have(self, tmp_path: Path) -> None:
        pipeline = {"__class_fullname__": "Compose", "transforms": [], "nonsense": 1}
        assert "unexpected keyword argument 'nonsense'" in refusal(written(tmp_path, pipeline), tmp_path)
