"""Images that a job could have kept for its report, drawn by rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from byoc_vision.report.record import IMAGES_FOLDER, Example


def mask_examples(folder: Path, gallery: str, count: int) -> list[Example]:
    examples = []
    for place in range(count):
        image, target = car(place)
        answer = np.roll(target, 2 + place, axis=1)
        wrong = np.where(target == answer, np.where(target, 110, 24), np.where(target, 200, 250)).astype(np.uint8)
        stem = f"validation-{gallery}-{place + 1}"
        drawn = {"truth": target * np.uint8(255), "prediction": answer * np.uint8(255), "difference": wrong}
        examples.append(
            Example(
                file=f"cars/{gallery}/{place:04}_front view.jpg",
                height=1280,
                width=1918,
                image=save(folder, f"{stem}-picture.jpg", image),
                **{name: save(folder, f"{stem}-{name}.png", pixels) for name, pixels in drawn.items()},
                score=0.71 + 0.03 * place,
            )
        )
    return examples


def class_examples(folder: Path, gallery: str, names: Sequence[str], count: int) -> list[Example]:
    def right(place: int) -> bool:
        return gallery == "best" or (gallery == "random" and place % 3 > 0)

    return [
        Example(
            file=f"{names[place % len(names)]}/{place}.jpg",
            height=96,
            width=128,
            image=save(folder, f"validation-{gallery}-{place + 1}-image.jpg", blob(place)),
            actual=[names[place % len(names)]],
            predicted=[names[(place + (not right(place))) % len(names)]],
            probability=0.97 - 0.02 * place,
            actual_probability=0.97 - 0.02 * place if right(place) else 0.02,
        )
        for place in range(count)
    ]


def several_class_examples(folder: Path, names: Sequence[str], count: int) -> list[Example]:
    """Images of none, one or two classes; every second prediction has a class too many."""
    return [
        Example(
            file=f"several/{place}.jpg",
            height=96,
            width=128,
            image=save(folder, f"validation-random-{place}-picture.jpg", blob(place)),
            actual=list(names[: place % 3]),
            predicted=list(names[: (place + place % 2) % 3]),
            probability=0.8,
        )
        for place in range(count)
    ]


def car(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A BGR image [212, 320, 3] and where the car is, uint8 0 or 1."""
    random = np.random.default_rng(seed)
    image = np.full((212, 320, 3), 205, np.uint8)
    image[150:] = 150
    target = np.zeros((212, 320), np.uint8)
    left, width = int(random.integers(30, 80)), int(random.integers(150, 200))
    cv2.ellipse(target, (left + width // 2, 118), (width // 3, 34), 0, 180, 360, 1, -1)
    cv2.rectangle(target, (left, 112), (left + width, 152), 1, -1)
    for wheel in (left + width // 5, left + width * 4 // 5):
        cv2.circle(target, (wheel, 152), 17, 1, -1)
    image[target == 1] = random.integers(40, 200, 3)
    return cv2.GaussianBlur(image, (3, 3), 0), target


def blob(seed: int) -> np.ndarray:
    """BGR [96, 128, 3]."""
    random = np.random.default_rng(seed)
    image = np.full((96, 128, 3), random.integers(120, 220, 3), np.uint8)
    centre = tuple(int(value) for value in random.integers(35, 60, 2))
    cv2.ellipse(image, centre, (30, 20), seed * 25, 0, 360, tuple(int(v) for v in random.integers(0, 200, 3)), -1)
    return image


def save(folder: Path, name: str, pixels: np.ndarray) -> str:
    path = folder / IMAGES_FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return name
