from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from support.answered import card_of, coloured_images, masked_images

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.samplers import SampleKey
from byoc_vision.data.samples import Sample
from byoc_vision.training.predictions.augmented import outlined, write_augmented
from byoc_vision.types import ClassInfo


def dataset(config: ModelConfig, samples: list[Sample]) -> ImageDataset:
    classes = [ClassInfo(entry.name, entry.value) for entry in config.classes]
    return ImageDataset(samples, classes, config.preprocess, build_augmentation("none", config.model.task))


def test_training_images_are_written_as_the_first_epoch_has_them(tmp_path: Path) -> None:
    config = card_of("segmentation", ("no", "yes"))
    images = dataset(config, masked_images(tmp_path, 14))
    names = write_augmented(tmp_path / "out", images, config.classes)
    assert names == [f"augmented-{number}.jpg" for number in range(1, 13)]
    last = cv2.imread(str(tmp_path / "out" / "pictures" / names[-1]), cv2.IMREAD_COLOR_RGB)
    image, target = images[SampleKey(13, epoch=1)]
    expected = outlined(image.numpy().transpose(1, 2, 0), target.numpy(), config.classes)
    assert np.abs(last.astype(int) - expected).mean() < 12, "but for what JPEG changes"


def test_a_mask_is_outlined_on_its_own_side() -> None:
    target = np.zeros((40, 60), np.uint8)
    target[10:30, 20:40] = 1
    drawn = outlined(np.full((40, 60, 3), 77, np.uint8), target, card_of("segmentation", ("no", "yes")).classes)
    changed = (drawn != 77).any(axis=2)
    assert changed[10, 20:40].all()
    assert changed[10:30, 39].all()
    assert not changed[12:28, 22:38].any()
    assert not changed[target == 0].any()


def test_of_few_images_each_is_shown_once_and_what_cannot_be_read_is_not(tmp_path: Path) -> None:
    config, samples = card_of("classification", ("a", "b", "c")), coloured_images(tmp_path, 3)
    Path(str(samples[1].image)).write_bytes(b"no image")
    assert write_augmented(tmp_path / "out", dataset(config, samples), config.classes) == [
        "augmented-1.jpg",
        "augmented-2.jpg",
    ]
