"""Drawn images, and how far an engine's logits for them may be from the expected ones.

An artifact keeps no image of a data set for this: more people may see a model than the data it was trained on.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn

    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

# How far logits may be from the expected ones: the root of the mean square, as a share of the logits' own.
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2, "int8": 1e-2}  # int8: from what it computed when it was certified

MOST_POINTS = 4096  # of a mask's logits, for each class of the first image; a quarter of the others

_ROUNDING = 2e-6  # of float32 in sums over many terms, as a share of the logits
_CELLS = 12  # colours in a row of the patchwork


def reference_image(rule: Preprocess) -> np.ndarray:
    """An image with smooth and rough parts, uint8 [1, h, w, 3]; computed, so that it is the same everywhere."""
    rows, columns = np.mgrid[: rule.height, : rule.width]
    channels = [rows * 5 + columns * 3 * channel + rows * columns // (7 + channel) for channel in range(rule.channels)]
    return (np.stack(channels, axis=-1) % 256).astype(np.uint8)[None]


def reference_images(rule: Preprocess) -> np.ndarray:
    """The image above, a patchwork of colours, a gradient with a bright disc, and noise: uint8 [4, h, w, 3]."""
    random = np.random.RandomState(0)  # its numbers are the same in every version of numpy
    rows, columns = np.mgrid[: rule.height, : rule.width]
    down, right = rows * _CELLS // rule.height, columns * _CELLS // rule.width
    patchwork = random.randint(0, 256, (_CELLS, _CELLS, 3))[down, right]
    slope = np.stack([rows * 200 // rule.height, columns * 200 // rule.width, (rows + columns) % 97], axis=-1)
    in_disc = (2 * rows - rule.height) ** 2 * rule.width**2 + (2 * columns - rule.width) ** 2 * rule.height**2
    disc = np.where((in_disc < (rule.height * rule.width) ** 2 // 4)[..., None], 255 - slope // 2, slope)
    noise = random.randint(0, 256, (rule.height, rule.width, 3))
    others = np.stack([patchwork, disc, noise]).astype(np.uint8)[..., [band % 3 for band in range(rule.channels)]]
    return np.concatenate([reference_image(rule), others])


def expected_logits(net: nn.Module, config: ModelConfig) -> list[np.ndarray]:
    """What PyTorch computes for each reference image, in float32 on the CPU; see `points`."""
    import torch

    from byoc_vision.inference.engines.torch_engine import TorchEngine
    from byoc_vision.precision import choose_precision

    cpu = torch.device("cpu")
    engine = TorchEngine(copy.deepcopy(net), config, cpu, choose_precision("float32", cpu))
    images = reference_images(config.preprocess)
    return points([np.asarray(engine.run(images[index : index + 1])[0]) for index in range(len(images))])


def engine_logits(engine: OpenVinoEngine, config: ModelConfig) -> list[np.ndarray]:
    """What an engine computes for each reference image, one after the other."""
    images = reference_images(config.preprocess)
    return points([engine.run(images[index : index + 1])[0] for index in range(len(images))])


def points(logits: list[np.ndarray]) -> list[np.ndarray]:
    """Each image's logits [K] unchanged; of [K, h, w] enough points to compare, most of the first image."""
    return [_thinned(each, index) for index, each in enumerate(logits)]


def _thinned(logits: np.ndarray, index: int) -> np.ndarray:
    if logits.ndim == 1:
        return logits
    most = MOST_POINTS if index == 0 else MOST_POINTS // 4
    step = max(1, int(np.ceil(np.sqrt(logits.shape[1] * logits.shape[2] / most))))
    return np.ascontiguousarray(logits[:, ::step, ::step])


def compare(engine: OpenVinoEngine, config: ModelConfig, expected: list[np.ndarray], what: str) -> None:
    """Raises DataError if the engine's logits, of images alone or in a batch, are not the expected ones.

    Users get probabilities and classes. A softmax does not change if a number is added to all logits, so the mean over
    the classes is subtracted first. What is left, and a sigmoid's logits unchanged, says how far the classes are from
    changing. Differences are compared with that over all images: a single one may be near the border of two classes.

    Args:
        expected: of the first reference image alone (in older artifacts) or of each.
        what: what computed the expected logits, for the error: `PyTorch does`.
    """
    images = reference_images(config.preprocess)[: len(expected)]
    centred = config.activation == "softmax" and len(expected) > 1
    spread, rounding = _spread(expected, centred), _ROUNDING * max(_spread(expected, False), 1e-3)
    for count in sorted({1, engine.streams}):
        order = np.resize(np.arange(len(images)), -(-len(images) // count) * count)
        found = np.concatenate([engine.run(images[order[at : at + count]]) for at in range(0, len(order), count)])
        apart = [_thinned(each, index) - expected[index] for each, index in zip(found, order.tolist(), strict=True)]
        distance = _spread(apart, centred)
        if not distance <= max(TOLERANCES[engine.precision] * spread, rounding):
            raise DataError(
                f"{engine.name} does not compute what {what}: {distance:.3g} apart, with logits of about {spread:.3g}"
            )


def _spread(logits: list[np.ndarray], centred: bool) -> float:
    """The root of the mean square over all images, float64."""
    if centred:
        logits = [each - each.mean(axis=0) for each in logits]
    return float(np.sqrt(np.mean(np.concatenate([each.ravel() for each in logits]).astype(np.float64) ** 2)))
