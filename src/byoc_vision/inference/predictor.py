"""Images in, masks or class probabilities out: the one way from an image to a prediction.

Evaluation in training, `byoc-vision predict` and the server all use this class, so that the reported metric is the
served one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError
from byoc_vision.inference import postprocess
from byoc_vision.inference.engine_choice import load_engine
from byoc_vision.inference.engines.base import Engine, EngineName, EnginePrecision, Logits
from byoc_vision.inference.reference import reference_image
from byoc_vision.system.memory import memory_limit
from byoc_vision.types import ClassInfo


@dataclass(frozen=True)
class Prepared:
    """An image as the model takes it, uint8 RGB [h, w, 3], and its own size in pixels."""

    pixels: np.ndarray
    height: int
    width: int


@dataclass(frozen=True)
class Classification:
    """The probability of each class, float32 [K], in class order.

    threshold: if an image may have several classes, the probability above which it has one; their probabilities do not
    sum to 1 then. None if an image has one class.
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]
    threshold: float | None = None

    def ranked(self) -> list[tuple[str, float]]:
        """Every class and its probability, best first."""
        order = np.argsort(-self.probabilities, kind="stable")
        return [(self.class_names[index], float(self.probabilities[index])) for index in order]


@dataclass(frozen=True)
class Segmentation:
    """The class of each pixel, as an index into `classes`: uint8 [H, W], in the image's own size."""

    labels: np.ndarray
    classes: tuple[ClassInfo, ...]
    _probabilities: Callable[[], np.ndarray]

    @property
    def mask(self) -> np.ndarray:
        """uint8 [H, W] in the pixel values of the training masks."""
        values = [entry.value if entry.value is not None else index for index, entry in enumerate(self.classes)]
        if values == list(range(len(values))):
            return self.labels
        if len(values) == 2:  # a quarter of the time that a table takes; what is lower comes out by wrapping round
            low, high = values
            return self.labels * np.uint8((high - low) % 256) + np.uint8(low)
        return cv2.LUT(self.labels, np.array(values + [0] * (256 - len(values)), np.uint8))

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [K, H, W]; computed again at each access, because few callers need it."""
        return self._probabilities()


Prediction = Segmentation | Classification


class Predictor:
    """An engine, and the model config that says what its images and its logits mean.

    `prepare` and `finish` may run in any thread; `forward` in as many at a time as the engine has streams.
    """

    def __init__(self, config: ModelConfig, engine: Engine) -> None:
        self.config = config
        self.engine = engine

    @classmethod
    def load(
        cls,
        source: Path,
        device: str | None = None,
        engine: EngineName = "auto",
        threads: int | None = None,
        streams: int = 1,
        precision: EnginePrecision = "auto",
    ) -> Predictor:
        """The predictor of an artifact: a folder or a tarball.

        device: as torch names it; by default a GPU if there is one.
        threads: of the CPU; by default as many as there are cores. streams: see `OpenVinoEngine`.
        precision: see `load_engine`.
        Raises DataError if the artifact is damaged or may not be read, and what `load_engine` raises.
        """
        try:
            with artifact.opened(source) as folder:
                config = artifact.read_config(folder)
                with artifact.verified_beside(folder):
                    return cls(config, load_engine(folder, config, device, engine, threads, streams, precision))
        except PermissionError as error:
            raise artifact.unreadable(error) from error

    @property
    def device(self) -> str:
        return self.engine.device

    def warm_up(self, batch_size: int = 1) -> None:
        """Make the first requests as fast as the next, up to so many at a time.

        Raises DataError if the network's input does not fit into this machine's memory, or its logits for an image are
        not finite numbers.
        """
        rule = self.config.preprocess
        self._check_memory(batch_size)
        self.engine.warm_up(np.zeros((batch_size, rule.height, rule.width, rule.channels), dtype=np.uint8))
        prepared = self.prepare(reference_image(rule)[0])
        logits = self.forward(prepared.pixels[None])
        if not np.isfinite(on_cpu(logits)).all():
            raise DataError(
                "the network's logits for a test image are not finite numbers (NaN or infinite): its weights, or "
                "preprocess.mean and preprocess.std in its model.json, are wrong; fetch or train the model again"
            )
        self.finish(logits[0], prepared)

    def _check_memory(self, batch_size: int) -> None:
        """By a lower bound: images as bytes, one as float32, and its logits. Raises DataError."""
        rule, spec = self.config.preprocess, self.config.model
        outputs = spec.outputs if spec.task == "segmentation" else 0
        needed, limit = rule.height * rule.width * (rule.channels * (batch_size + 4) + 4 * outputs), memory_limit()
        if limit is not None and needed > limit:
            raise DataError(
                f"preprocess.height × preprocess.width is {rule.height} × {rule.width}: {batch_size} such images take "
                f"at least {needed / 1e9:.1f} GB, and this machine has {limit / 1e9:.1f} GB; use a larger one, or "
                "train with a smaller image_size"
            )

    def prepare(self, rgb: np.ndarray) -> Prepared:
        """A decoded image, uint8 RGB [H, W, 3], made ready for `forward`."""
        return Prepared(self.config.preprocess.image(rgb), rgb.shape[0], rgb.shape[1])

    def forward(self, images: np.ndarray) -> Logits:
        """Images, uint8 [N, h, w, 3], to logits, float32 [N, K] or [N, K, h, w]."""
        return self.engine.run(images)

    def finish(self, logits: Logits, prepared: Prepared, threshold: float | None = None) -> Prediction:
        """One image's logits, [K] or [K, h, w], as its prediction.

        threshold: above which a sigmoid's class is present, instead of the model config's.
        """
        threshold = (threshold or self.config.threshold) if self.config.activation == "sigmoid" else None
        if self.config.task == "classification":
            return Classification(self._scores(on_cpu(logits)), self.config.class_names, threshold)
        rule, height, width = self.config.preprocess, prepared.height, prepared.width

        def probabilities() -> np.ndarray:
            return self._scores(_postprocess(logits).restore_planes(logits, rule, height, width))

        labels = _postprocess(logits).label_pixels(logits, rule, height, width, threshold)
        labels = postprocess.without_small_parts(labels, self.config.min_area)
        return Segmentation(labels, self.config.classes, probabilities)

    def predict(self, images: Sequence[np.ndarray], batch_size: int = 8) -> list[Prediction]:
        """Decoded images, uint8 RGB [H, W, 3] of any sizes, to their predictions, in order."""
        predictions: list[Prediction] = []
        for start in range(0, len(images), batch_size):
            prepared = [self.prepare(rgb) for rgb in images[start : start + batch_size]]
            logits = self.forward(np.stack([item.pixels for item in prepared]))
            predictions += [self.finish(*pair) for pair in zip(logits, prepared, strict=True)]
        return predictions

    def _scores(self, logits: np.ndarray) -> np.ndarray:
        """Logits with K first to probabilities of every class; a mask's one logit becomes two probabilities."""
        if self.config.activation == "softmax":
            return postprocess.softmax(logits)
        positive = postprocess.sigmoid(logits)
        return np.concatenate([1 - positive, positive]) if self.config.task == "segmentation" else positive


def _postprocess(logits: Logits) -> Any:
    """The module for logits on this device."""
    if isinstance(logits, np.ndarray):
        return postprocess
    from byoc_vision.inference import postprocess_gpu

    return postprocess_gpu


def on_cpu(logits: Logits) -> np.ndarray:
    """Logits as an array, on whatever device they are."""
    return logits if isinstance(logits, np.ndarray) else logits.cpu().numpy()
