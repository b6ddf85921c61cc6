"""Compares the predictions of an exported model with the original's."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError
from byoc_vision.export.formats import Run
from byoc_vision.models.normalized import Normalized
from byoc_vision.preprocess import with_bands

TOLERANCE = 1e-3  # of the logits' standard deviation. Rounding alone caused at most 2e-5 (docs/export.md)

_BATCHES = ((0, 1), (1, 4), (4, 7))  # one image, then three at once


@dataclass(frozen=True)
class Comparison:
    """The largest difference that was found.

    largest: the largest difference of a logit. spread: the standard deviation of the original's logits.
    image, batch: the reference image with that difference, and the size of its batch.
    """

    largest: float
    spread: float
    image: str
    batch: int

    @property
    def share(self) -> float:
        return self.largest / self.spread

    @property
    def is_close(self) -> bool:
        return self.share <= TOLERANCE  # false if either is NaN


def compare(net: nn.Module, config: ModelConfig, run: Run) -> Comparison:
    """Compare both models' logits for the reference images, in batches of one and three.

    Args:
        net: The original, on the CPU, in evaluation mode.
        config: The original's config.
        run: The exported model.

    Raises:
        DataError: The original's logits are not finite.
    """
    images = reference_images(config.preprocess.height, config.preprocess.width, config.preprocess.channels)
    names, pixels = list(images), np.stack(list(images.values()))
    expected = _logits(net, config, pixels)
    if not np.isfinite(expected).all():
        raise DataError("the model's logits are not finite; train it again")
    differences = np.empty(len(pixels))
    for first, last in _BATCHES:
        logits = run(pixels[first:last])
        if logits.shape != expected[first:last].shape:
            differences[first:last] = np.inf
            continue
        off = np.abs(logits.astype(np.float64) - expected[first:last])
        differences[first:last] = off.reshape(last - first, -1).max(axis=1)
    worst = int(np.argmax(differences))  # the first NaN, if there is one
    batch = next(last - first for first, last in _BATCHES if first <= worst < last)
    return Comparison(float(differences[worst]), float(expected.std()) or 1.0, names[worst], batch)


def reference_images(height: int, width: int, channels: int = 3) -> dict[str, np.ndarray]:
    """Seven fixed images, uint8 [height, width, channels], from flat to noisy; they cover the values 0–255."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    clouds = cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    gradient = np.stack([across, down, 255 - across], axis=-1).astype(np.uint8)
    if channels != 3:
        order = [channel % 3 for channel in range(channels)]
        noise, gradient = noise[..., order], gradient[..., order]
        clouds = np.ascontiguousarray(clouds[..., order])
    return {
        "clouds": clouds,
        "noise": noise,
        "gradient": gradient,
        "black": np.zeros_like(noise),
        "white": np.full_like(noise, 255),
        "noisy clouds": with_bands(cv2.addWeighted(clouds, 0.8, np.ascontiguousarray(noise), 0.2, 0), clouds),
        "upside down": np.ascontiguousarray(clouds[::-1]),
    }


@torch.inference_mode()
def _logits(net: nn.Module, config: ModelConfig, images: np.ndarray) -> np.ndarray:
    model = Normalized(net, config.preprocess.mean, config.preprocess.std)
    batches = [torch.from_numpy(images[first:last]).permute(0, 3, 1, 2) for first, last in _BATCHES]
    return np.concatenate([model(batch).float().numpy() for batch in batches])
