"""Synthetic image sets with exact targets, for demonstrations and tests: no download, no licence.

Saturated objects are on a dull, uneven ground. Neither brightness nor a single colour separates them, and some of
their parts (windows, wheels) are as dull as the ground, so that a network has to learn shapes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

SHAPES = ("circle", "square", "star", "triangle")
FOREGROUND = 255

_OVERSAMPLING = 4
_JPEG_QUALITY = 92
_SPLITS = ("train", "validation")

# A closed outline [n, 2] as x, y around the origin, of a size near 1.
Outline = np.ndarray


class Part(NamedTuple):
    """An outline and its colour, RGB 0–255; an object has several parts, later ones over earlier ones."""

    outline: Outline
    colour: np.ndarray


def make_sample_data(folder: Path, seed: int = 0) -> None:
    """Both sets for the demonstration: `folder`/segmentation and `folder`/classification."""
    make_segmentation_set(folder / "segmentation", seed=seed)
    make_classification_set(folder / "classification", seed=seed)


def make_segmentation_set(
    folder: Path, count_train: int = 160, count_validation: int = 40, size: int = 160, seed: int = 0
) -> None:
    """Scenes of one to three objects: JPEG images, PNG masks of the same stem with 0 and 255.

    Fills the channel folders train, train_annotation, validation and validation_annotation below `folder`.
    size: the width in pixels; the height is three quarters of it. The same seed gives the same bytes.
    """
    for split, count in zip(_SPLITS, (count_train, count_validation), strict=True):
        for index in range(count):
            image, mask = draw_scene(size * 3 // 4, size, _generator(seed, split, index))
            _write(folder / split / f"scene_{index:04}.jpg", image)
            _write(folder / f"{split}_annotation" / f"scene_{index:04}.png", mask)


def make_classification_set(
    folder: Path, count_train: int = 400, count_validation: int = 80, size: int = 96, seed: int = 0
) -> None:
    """One shape per image, in class folders: train/CLASS/*.jpg and validation/CLASS/*.jpg below `folder`.

    The counts are for all classes together, divided evenly. size: both sides, in pixels.
    The same seed gives the same bytes.
    """
    for split, count in zip(_SPLITS, (count_train, count_validation), strict=True):
        for index in range(count):
            shape = SHAPES[index % len(SHAPES)]
            image = draw_shape(shape, size, _generator(seed, split, index))
            _write(folder / split / shape / f"{shape}_{index:04}.jpg", image)


def draw_scene(height: int, width: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 RGB [height, width, 3], and its mask, uint8 [height, width]: 0 or 255."""
    image = _ground(height, width, draw)
    covered = np.zeros((height, width), bool)
    things = (_ellipse, _polygon, _car)
    for _ in range(draw.integers(1, 4)):
        thing = things[draw.integers(len(things))](draw)
        radius = draw.uniform(0.16, 0.30) * height
        centre = draw.uniform((0.15, 0.2), (0.85, 0.8)) * (width, height)
        covered |= _paint(image, thing, centre, radius, draw)
    return _finish(image, draw), np.where(covered, FOREGROUND, 0).astype(np.uint8)


def draw_shape(shape: str, size: int, draw: np.random.Generator) -> np.ndarray:
    """An image, uint8 RGB [size, size, 3], of one of `SHAPES`."""
    image = _ground(size, size, draw, most_lines=0)
    radius = draw.uniform(0.34, 0.42) * size
    centre = draw.uniform(0.44, 0.56, 2) * size
    outline = _turned(_SHAPE_OUTLINES[shape], draw.uniform(-0.2, 0.2))
    _paint(image, [Part(outline, _bright(draw))], centre, radius, draw)
    return _finish(image, draw)


def _generator(seed: int, split: str, index: int) -> np.random.Generator:
    """A generator for each image: a larger set begins with the images of a smaller one."""
    return np.random.default_rng((seed, _SPLITS.index(split), index))


def _regular(corners: int, inner: float = 1.0) -> Outline:
    """A regular polygon with a corner on top; with `inner` below 1 a star with that inner radius."""
    points = corners if inner == 1 else 2 * corners
    angles = np.arange(points) * 2 * np.pi / points - np.pi / 2
    radii = np.where(np.arange(points) % 2, inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _turned(outline: Outline, angle: float) -> Outline:
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = outline[:, 0], outline[:, 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)


_SHAPE_OUTLINES = {
    "circle": _regular(64) * 0.85,
    "square": _turned(_regular(4), np.pi / 4),
    "star": _regular(5, inner=0.45) * 1.1,
    "triangle": _regular(3) * 1.1,
}


def _any_angle(draw: np.random.Generator) -> float:
    return draw.uniform(-np.pi, np.pi)


def _ellipse(draw: np.random.Generator) -> list[Part]:
    outline = _regular(64) * (1, draw.uniform(0.5, 1))
    return [Part(_turned(outline, _any_angle(draw)), _bright(draw))]


def _polygon(draw: np.random.Generator) -> list[Part]:
    outline = _regular(int(draw.integers(3, 8)))
    return [Part(_turned(outline * draw.uniform(0.75, 1, (len(outline), 1)), _any_angle(draw)), _bright(draw))]


def _car(draw: np.random.Generator) -> list[Part]:
    """A car from the side: body and cabin in one colour, a window, two wheels."""
    body = np.array(
        [(-1.3, 0.4), (-1.3, 0.0), (-0.8, -0.1), (-0.5, -0.6), (0.4, -0.6), (0.8, -0.1), (1.3, 0.05), (1.3, 0.4)]
    )
    window = np.array([(-0.6, -0.12), (-0.4, -0.48), (0.32, -0.48), (0.6, -0.12)])
    wheels = [_regular(32) * 0.28 + (x, 0.4) for x in (-0.75, 0.75)]
    lean, side = draw.uniform(-0.15, 0.15), draw.choice([-1, 1])
    parts = [
        Part(body, _bright(draw)),
        Part(window, _dull(draw)),
        *(Part(wheel, _dull(draw) * 0.4) for wheel in wheels),
    ]
    return [Part(_turned(part.outline * (side, 1), lean), part.colour) for part in parts]


def _bright(draw: np.random.Generator) -> np.ndarray:
    """A saturated colour of any hue, dark or light: RGB, 0–255."""
    hsv = np.array([[[draw.integers(180), draw.integers(150, 256), draw.integers(110, 256)]]], np.uint8)
    return np.array(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float64)


def _dull(draw: np.random.Generator) -> np.ndarray:
    """Nearly grey, of any brightness: RGB, 0–255."""
    return np.clip(draw.uniform(40, 215) + draw.uniform(-14, 14, 3), 0, 255)


def _ground(height: int, width: int, draw: np.random.Generator, most_lines: int = 5) -> np.ndarray:
    """A gradient between two dull colours, with soft blotches and some lines: float32 [height, width, 3]."""
    x, y = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    angle = draw.uniform(0, 2 * np.pi)
    ramp = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)[..., None]
    ground = np.array((1 - ramp) * _dull(draw) + ramp * _dull(draw), np.float32)
    coarse = draw.normal(0, 1, (6, 8, 1)).astype(np.float32)
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    ground += blotches[..., None] * np.float32(draw.uniform(5, 22))
    for _ in range(draw.integers(0, most_lines + 1)):
        ends = (draw.uniform(0, 1, (2, 2)) * (width, height)).astype(int).tolist()
        colour = tuple(_dull(draw).tolist())
        cv2.line(ground, tuple(ends[0]), tuple(ends[1]), colour, int(draw.integers(1, 4)), cv2.LINE_AA)
    return ground


def _paint(
    image: np.ndarray, thing: list[Part], centre: np.ndarray, radius: float, draw: np.random.Generator
) -> np.ndarray:
    """Draw an object into the image, with antialiased edges and light from one side.

    Returns the pixels of which it covers at least half, bool [H, W].
    """
    light = draw.uniform(-0.25, 0.25, 2)
    height, width = image.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    shade = 1 + ((x - centre[0]) * light[0] + (y - centre[1]) * light[1]) / radius
    shade = np.clip(shade, 0.6, 1.4).astype(np.float32)[..., None]
    covered = np.zeros((height, width), bool)
    for part in thing:
        cover = _coverage(part.outline * radius + centre, height, width)
        alpha = cover[..., None]
        image += (shade * part.colour.astype(np.float32) - image) * alpha
        covered |= cover >= 0.5
    return covered


def _coverage(outline: Outline, height: int, width: int) -> np.ndarray:
    """The share of each pixel inside an outline given in pixels: float32 [height, width], 0–1."""
    canvas = np.zeros((height * _OVERSAMPLING, width * _OVERSAMPLING), np.uint8)
    cv2.fillPoly(canvas, [np.rint(outline * _OVERSAMPLING).astype(np.int32)], 255)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _finish(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Add camera noise, convert to uint8."""
    noisy = image + np.float32(draw.uniform(2, 8)) * draw.standard_normal(image.shape, np.float32)
    rounded: np.ndarray = np.clip(np.rint(noisy), 0, 255)
    return rounded.astype(np.uint8)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(
        path.suffix, stored, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    )
    path.write_bytes(data.tobytes())
