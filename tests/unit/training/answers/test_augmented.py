from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from support.answered import card_of, coloured_pictures, masked_pictures

from byoc_vision.artifact import ModelCard
from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.image_dataset import PictureDataset
from byoc_vision.data.samplers import Draw
from byoc_vision.data.samples import DataClass, Sample
from byoc_vision.training.answers.augmented import outlined, write_augmented


def dataset(card: ModelCard, samples: list[Sample]) -> PictureDataset:
    classes = [DataClass(entry.name, entry.value) for entry in card.classes]
    return PictureDataset(samples, classes, card.preprocess, build_augmentation("none", card.model.task))


def test_training_pictures_are_written_as_the_first_epoch_has_them(tmp_path: Path) -> None:
    card = card_of("segmentation", ("no", "yes"))
    pictures = dataset(card, masked_pictures(tmp_path, 14))
    names = write_augmented(tmp_path / "out", pictures, card.classes)
    assert names == [f"augmented-{number}.jpg" for number in range(1, 13)]
    last = cv2.imread(str(tmp_path / "out" / "pictures" / names[-1]), cv2.IMREAD_COLOR_RGB)
    image, truth = pictures[Draw(13, epoch=1)]
    expected = outlined(image.numpy().transpose(1, 2, 0), truth.numpy(), card.classes)
    assert np.abs(last.astype(int) - expected).mean() < 12, "but for what JPEG changes"


def test_a_mask_is_outlined_on_its_own_side() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 20:40] = 1
    drawn = outlined(np.full((40, 60, 3), 77, np.uint8), truth, card_of("segmentation", ("no", "yes")).classes)
    changed = (drawn != 77).any(axis=2)
    assert changed[10, 20:40].all()
    assert changed[10:30, 39].all()
    assert not changed[12:28, 22:38].any()
    assert not changed[truth == 0].any()


def test_of_few_pictures_each_is_shown_once_and_what_cannot_be_read_is_not(tmp_path: Path) -> None:
    card, samples = card_of("classification", ("a", "b", "c")), coloured_pictures(tmp_path, 3)
    Path(str(samples[1].image)).write_bytes(b"no picture")
    assert write_augmented(tmp_path / "out", dataset(card, samples), card.classes) == [
        "augmented-1.jpg",
        "augmented-2.jpg",
    ]
