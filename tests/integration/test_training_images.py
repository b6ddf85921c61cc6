"""What becomes of images on their way into training: crops, augmentations from a file, and files that break late."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest
from support.apps import client_of
from support.images import heic_ramp, save_image
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision import artifact
from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.evaluation.evaluator import evaluate_folder
from byoc_vision.paths import MlPaths

COMMON = {"epochs": "1", **QUICK, "batch_size": "4", "num_workers": "0", "precision": "float32"}
SCENES = COMMON | {"model": "unet_small", "image_size": "64"}
SHAPES = COMMON | {"model": "resnet10t", "image_size": "32"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    make_segmentation_set(folder / "scenes", count_train=8, count_validation=4, size=64)
    make_classification_set(folder / "shapes", count_train=16, count_validation=8, size=40)
    return folder


@pytest.fixture
def paths(tmp_path: Path) -> MlPaths:
    return MlPaths(tmp_path / "ml")


def train(paths: MlPaths, images: Path, asked: dict[str, str]) -> int:
    shutil.copytree(images, paths.channels, dirs_exist_ok=True)
    return train_as_it_lies(paths, asked)


def train_as_it_lies(paths: MlPaths, asked: dict[str, str]) -> int:
    write_hyperparameters(paths, asked)
    return run_train(paths)


def failure(paths: MlPaths) -> str:
    return paths.failure.read_text(encoding="utf-8")


class TestCrops:
    def test_segmentation_trains_on_parts_and_serves_the_whole(self, drawn: Path, paths: MlPaths) -> None:
        assert train(paths, drawn / "scenes", SCENES | {"crop_size": "32, 48"}) == 0
        config, _ = artifact.load(paths.model)
        assert (config.preprocess.height, config.preprocess.width) == (64, 64)

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            ("80", "crop_size=80, 80 is larger than image_size=64, 64, out of which it is cut"),
            ("40", "crop_size=40, 40 does not fit model=unet_small: sides must be multiples of"),
        ],
    )
    def test_a_part_that_cannot_be_is_refused(self, drawn: Path, paths: MlPaths, size: str, text: str) -> None:
        assert train(paths, drawn / "scenes", SCENES | {"crop_size": size}) == 2
        assert text in failure(paths)

    def test_classification_cuts_out_of_the_short_side(self, drawn: Path, paths: MlPaths) -> None:
        assert train(paths, drawn / "shapes", SHAPES | {"short_side": "40"}) == 0
        config, _ = artifact.load(paths.model)
        assert (config.preprocess.height, config.preprocess.short_side) == (32, 40)

    def test_classification_trains_on_smaller_images_and_serves_at_full_size(
        self, drawn: Path, paths: MlPaths, capfd: pytest.CaptureFixture[str]
    ) -> None:
        asked = {"train_image_size": "24", "random_resized_crop": "0.4", "short_side": "40"}
        assert train(paths, drawn / "shapes", SHAPES | asked) == 0
        assert "images 32 × 32 (short_side), training on 24 × 24" in "".join(capfd.readouterr())
        config, _ = artifact.load(paths.model)
        assert (config.preprocess.height, config.preprocess.short_side) == (32, 40)
        assert read_metrics(paths)["validation"] == evaluate_folder(paths.model, paths.channel("validation")) | {
            "loss": read_metrics(paths)["validation"]["loss"]
        }

    def test_masks_have_other_crops_and_all_that_is_wrong_is_named(self, drawn: Path, paths: MlPaths) -> None:
        asked = {"train_image_size": "32", "mixup": "0.2"}
        assert train(paths, drawn / "scenes", SCENES | asked) == 2
        assert "segmentation does not go with these hyperparameters:" in failure(paths)
        assert "random_resized_crop and train_image_size are for classification" in failure(paths)
        assert "mixup and cutmix mix the labels of whole images" in failure(paths)

    @pytest.mark.parametrize(
        ("asked", "text"),
        [
            ({"train_image_size": "48"}, "train_image_size=48, 48 is larger than image_size=32, 32, at which"),
            ({"short_side": "24"}, "short_side=24 is less than image_size=32, 32, which is cut out of it"),
            ({"short_side": "40", "resize": "letterbox"}, "short_side=40 goes with resize=short_side"),
            ({"crop_size": "16"}, "crop_size is for segmentation; for classification set short_side"),
        ],
    )
    def test_sizes_that_contradict_are_refused(
        self, drawn: Path, paths: MlPaths, asked: dict[str, str], text: str
    ) -> None:
        assert train(paths, drawn / "shapes", SHAPES | asked) == 2
        assert text in failure(paths)


class TestAugmentation:
    def test_a_file_in_its_channel(self, drawn: Path, paths: MlPaths) -> None:
        paths.channel("augmentation").mkdir(parents=True)
        pipeline = albumentations.Compose([albumentations.HorizontalFlip(), albumentations.Rotate((-20, 20))])
        albumentations.save(pipeline, paths.channel("augmentation") / "mine.json")
        assert train(paths, drawn / "scenes", SCENES | {"augmentation": "mine.json"}) == 0

    def test_a_file_that_cannot_be_used_ends_the_job_before_it_trains(self, drawn: Path, paths: MlPaths) -> None:
        paths.channel("augmentation").mkdir(parents=True)
        albumentations.save(albumentations.Normalize(), paths.channel("augmentation") / "mine.json")
        assert train(paths, drawn / "shapes", SHAPES | {"augmentation": "mine.json"}) == 2
        assert "Normalize makes float32" in failure(paths)
        assert not paths.model.exists()

    @pytest.mark.parametrize("name", ["crop", "crop_color", "crop_color_transform"])
    def test_the_built_in_algorithms_names(self, drawn: Path, paths: MlPaths, name: str) -> None:
        assert train(paths, drawn / "shapes", SHAPES | {"augmentation_type": name}) == 0

    def test_an_unknown_name(self, drawn: Path, paths: MlPaths) -> None:
        assert train(paths, drawn / "shapes", SHAPES | {"augmentation": "strng"}) == 2
        assert "augmentation=strng is not known; did you mean strong?" in failure(paths)


class TestBadSamples:
    """Of a set that is only sampled before training: one image is checked, others are cut short."""

    @pytest.fixture
    def broken(self, drawn: Path, paths: MlPaths) -> list[Path]:
        shutil.copytree(drawn / "shapes", paths.channels)
        broken = []
        for split, count in (("train", 3), ("validation", 2)):
            for path in sorted(paths.channel(split).rglob("*.jpg"))[-count:]:
                path.write_bytes(path.read_bytes()[:-300])
                broken.append(path)
        return broken

    @pytest.mark.parametrize("workers", ["0", "2"])
    def test_fail_names_all(
        self, paths: MlPaths, broken: list[Path], workers: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = SHAPES | {"checked_pictures": "1", "num_workers": workers}
        write_hyperparameters(paths, asked)
        assert run_train(paths) == 3
        assert failure(paths).startswith("Your data: 5 of 24 samples cannot be used; fix them, or leave them out with")
        assert f"{broken[0]} is cut short" in failure(paths)
        report = json.loads((paths.output_data / "preflight.json").read_text())
        assert report["errors"] == [], "they are met in training"
        log = capsys.readouterr().out
        assert all(f"  - {path} is cut short" in log for path in broken)

    def test_two_both_stand_in_the_failure_file(self, drawn: Path, paths: MlPaths) -> None:
        shutil.copytree(drawn / "shapes", paths.channels)
        broken = sorted(paths.channel("train").rglob("*.jpg"))[-2:]
        for path in broken:
            path.write_bytes(path.read_bytes()[:-300])
        assert train_as_it_lies(paths, SHAPES | {"checked_pictures": "1"}) == 3
        assert all(f"{path} is cut short" in failure(paths) for path in broken)

    def test_of_the_test_images_before_all_is_trained(
        self, drawn: Path, paths: MlPaths, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(drawn / "shapes", paths.channels)
        shutil.copytree(paths.channel("validation"), paths.channel("test"))
        for path in (broken := sorted(paths.channel("test").rglob("*.jpg"))[-2:]):
            path.write_bytes(path.read_bytes()[:-300])
        assert train_as_it_lies(paths, SHAPES | {"checked_pictures": "1", "epochs": "2"}) == 3
        assert all(f"{path} is cut short" in failure(paths) for path in broken)
        log = capsys.readouterr().out
        assert "epoch=1" in log
        assert "epoch=2" not in log

    def test_a_value_that_no_class_has(self, drawn: Path, paths: MlPaths) -> None:
        shutil.copytree(drawn / "scenes", paths.channels)
        mask = max(paths.channel("train_annotation").iterdir())
        values = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        values[0, 0] = 7
        cv2.imwrite(str(mask), values)
        asked = SCENES | {"checked_pictures": "1"}
        assert train_as_it_lies(paths, asked) == 3
        assert f"{mask} holds 7, neither a class nor ignored" in failure(paths)
        assert "The classes are 0, 255. If one is missing, set num_classes" in failure(paths)
        assert train_as_it_lies(paths, asked | {"on_bad_sample": "skip"}) == 0

    def test_skip_trains_on_the_good_samples(
        self, paths: MlPaths, broken: list[Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = SHAPES | {"checked_pictures": "1", "on_bad_sample": "skip", "epochs": "2"}
        write_hyperparameters(paths, asked)
        assert run_train(paths) == 0
        log = capsys.readouterr().out
        for path in broken:
            assert len(re.findall(rf"{path} is cut short.*on_bad_sample=skip", log)) == 1
        assert "2 of 8 images cannot be read: the metrics are of the others" in log


class TestTopK:
    def test_it_is_reported(self, drawn: Path, paths: MlPaths) -> None:
        assert train(paths, drawn / "shapes", SHAPES | {"top_k": "3"}) == 0
        figures = read_metrics(paths)["validation"]
        assert figures["accuracy"] <= figures["top_3_accuracy"] <= 1

    @pytest.mark.parametrize(
        ("images", "asked", "text"),
        [
            ("shapes", SHAPES | {"top_k": "4"}, "top_k=4 of 4 classes is always right; take less"),
            ("scenes", SCENES | {"top_k": "2"}, "top_k=2 is for images with one class each; leave it out"),
        ],
    )
    def test_what_cannot_be_measured_is_refused(
        self, drawn: Path, paths: MlPaths, images: str, asked: dict[str, str], text: str
    ) -> None:
        assert train(paths, drawn / images, asked) == 2
        assert text in failure(paths)


def test_images_of_phones_train_and_are_served(paths: MlPaths) -> None:
    """HEIC and AVIF beside JPEG; what network drives add to the folders is not read."""
    for label, colour in (("blue", (20, 40, 220)), ("red", (230, 30, 20))):
        folder = paths.channels / "train" / label
        for number, kind in enumerate(("avif", "jpe", "jfif", "jpg", "avif")):
            shade = np.full((40, 40, 3), colour, np.uint8) - np.uint8(number)
            save_image(folder / f"{number}.{kind}", shade, "AVIF" if kind == "avif" else "JPEG")
        save_image(folder / "@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", shade)
        save_image(folder / ".thumbnails/1.jpg", shade)
    save_image(paths.channels / "train/__MACOSX/red/1.jpg", shade)
    (paths.channels / "train/red/ramp.heic").write_bytes(heic_ramp())
    assert train_as_it_lies(paths, SHAPES | {"validation_split": "0.4"}) == 0
    counted: dict[str, int] = read_metrics(paths)["pictures"]
    assert sum(counted.values()) == 11
    with client_of(paths.root) as client:
        for content_type in ("image/heic", "application/octet-stream"):
            response = client.post("/invocations", data=heic_ramp(), content_type=content_type)
            assert response.status_code == 200, response.text
            assert {entry["label"] for entry in response.get_json()} == {"blue", "red"}
        cut = client.post("/invocations", data=heic_ramp()[:-9], content_type="image/heic")
        assert (cut.status_code, "is cut short" in cut.text) == (400, True)
