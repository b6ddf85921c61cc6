"""Data sets for the recipes: of Carvana's images one with a thin class, and one whose images mostly show nothing; and
written digits, unlike any photograph that a network was pretrained on: as images, and in front of streets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SMALL = (480, 320)  # width and height of the cars with edges
SIDE = 128  # of a patch
EMPTY = 8  # patches without a car, of each image
RARE = (0.005, 0.06)  # of the pixels of a patch that shows a part of a car
TRIES = 200
DIGITS = {"train": 20, "validation": 20, "test": 40}  # of each
SCENES = {"train": 200, "validation": 60}
WRITTEN = 6  # digits of a scene


def cars_with_edges(source: Path, target: Path) -> None:
    """Masks of three classes: 0 around a car, 1 the car, 2 its edge, three pixels wide: 1.3 % of the pixels."""
    for split, name, image, mask in _cars(source):
        image = cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA)
        mask = (cv2.resize(mask.astype(np.float32), SMALL, interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
        around = np.ones((3, 3), np.uint8)
        mask[cv2.dilate(mask, around) != cv2.erode(mask, around)] = 2
        _write(target, split, name, image, mask)


def rare_cars(source: Path, target: Path) -> None:
    """Patches of two classes at half of the images' size: of each image one with a part of a car, and eight without."""
    random = np.random.default_rng(0)
    for split, name, image, mask in _cars(source):
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST)
        empty = rare = 0
        for _ in range(TRIES):
            top, left = (random.integers(0, length - SIDE) for length in mask.shape)
            patch = slice(top, top + SIDE), slice(left, left + SIDE)
            share = mask[patch].mean()
            if share == 0 and empty < EMPTY:
                empty += 1
                _write(target, split, f"{name}-empty-{empty}", image[patch], mask[patch])
            elif RARE[0] < share < RARE[1] and not rare:
                rare += 1
                _write(target, split, f"{name}-rare", image[patch], mask[patch])


def digits(source: Path, target: Path) -> None:
    """Ten classes of written digits, 8 × 8 pixels, of scikit-learn (Alpaydin and Kaynak, 1998)."""
    found = load_digits()
    for digit in range(10):
        images = iter(found.images[found.target == digit])
        for split, count in DIGITS.items():
            folder = target / split / str(digit)
            folder.mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(folder / f"{number}.png"), (next(images) * 15).astype(np.uint8))  # of 0 to 16


def digit_scenes(source: Path, target: Path) -> None:
    """Parts of streets with written digits in front, the masks their strokes: 0 none, 1 the digit 0, to 10 the digit 9.

    A digit is as often as the inverse of its class: of the pixels ten times as many show a 0 as a 9. The digits of the
    validation images are not among those of the training images.
    """
    random, found = np.random.default_rng(0), load_digits()
    chances, held_out = 1 / np.arange(1, 11), np.arange(len(found.images)) % 3 == 0
    for split, count in SCENES.items():
        streets = sorted((source / "camvid" / split).iterdir())
        of_split = held_out if split == "validation" else ~held_out
        for number in range(count):
            image = cv2.imread(str(streets[number * len(streets) // count]))
            top, left = (random.integers(0, length - SIDE) for length in image.shape[:2])
            image, mask = image[top : top + SIDE, left : left + SIDE].copy(), np.zeros((SIDE, SIDE), np.uint8)
            for digit in random.choice(10, WRITTEN, p=chances / chances.sum()):
                size = int(random.integers(16, 48))
                written = found.images[random.choice(np.flatnonzero((found.target == digit) & of_split))]
                stroke = cv2.resize(written, (size, size), interpolation=cv2.INTER_CUBIC) > 8  # of 16
                top, left = random.integers(0, SIDE - size, 2)
                place = slice(top, top + size), slice(left, left + size)
                image[place][stroke] = random.integers(0, 256, 3)
                mask[place][stroke] = 1 + digit
            _write(target, split, str(number), image, mask)


def _cars(source: Path) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Split, name, image and mask of 0 and 1."""
    for split in ("train", "validation"):
        for file in sorted((source / "carvana" / split).iterdir()):
            with Image.open(source / "carvana" / f"{split}_masks" / f"{file.stem}_mask.gif") as mask:
                yield split, file.stem, cv2.imread(str(file)), (np.array(mask) > 0).astype(np.uint8)


def _write(target: Path, split: str, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for folder, pixels in ((split, image), (f"{split}_masks", mask)):
        (target / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target / folder / f"{name}.png"), pixels)
