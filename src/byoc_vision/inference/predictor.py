"""Pictures in, masks or class probabilities out: the one way from a picture to an answer.

Evaluation in training, `byoc-vision predict` and the server all use this class, so that the reported
figure is the served one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from byoc_vision import artifact
from byoc_vision.artifact import ClassEntry, ModelCard
from byoc_vision.data.preprocess import Preprocess
from byoc_vision.errors import DataError
from byoc_vision.models.build import build_model
from byoc_vision.models.normalized import Normalized
from byoc_vision.precision import Precision, choose_device, choose_precision


@dataclass(frozen=True)
class Prepared:
    """A picture as the model takes it, uint8 [3, h, w], and its own size in pixels."""

    pixels: Tensor
    height: int
    width: int


@dataclass(frozen=True)
class Classification:
    """The probability of each class, float32 [K], in class order.

    threshold: where a picture may have several classes, the probability above which it has one. Their probabilities
    are then of a yes each and do not sum to 1. None where a picture has one class.
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
    """The class of each pixel, as an index into `classes`: uint8 [H, W], in the picture's own size."""

    labels: np.ndarray
    classes: tuple[ClassEntry, ...]
    _probabilities: Callable[[], np.ndarray]

    @property
    def mask(self) -> np.ndarray:
        """uint8 [H, W] in the pixel values of the training masks."""
        values = [entry.value if entry.value is not None else index for index, entry in enumerate(self.classes)]
        return cv2.LUT(self.labels, _lookup_table(values))

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [K, H, W]; computed anew each time, since few callers want it."""
        return self._probabilities()


Answer = Segmentation | Classification


class Predictor:
    """A network with its card on a device.

    `prepare` and `finish` may run in any thread; `forward` in one at a time.
    """

    def __init__(self, net: nn.Module, card: ModelCard, device: torch.device, precision: Precision) -> None:
        """`net` takes normalised pictures; it is used as it is, so a network in training can be evaluated."""
        self.card = card
        self.device = device
        self.precision = precision
        normalized = Normalized(net, card.preprocess.mean, card.preprocess.std)
        self.model = normalized.to(device).to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, source: Path, device: str | None = None) -> Predictor:
        """The predictor of an artifact: a folder or a tarball. Raises DataError where it is damaged."""
        card, state = artifact.load(source)
        net = build_model(card.model)
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise DataError(f"{source}: the weights do not fit the model its card names: {error}") from error
        chosen = choose_device(device)
        return cls(net.eval(), card, chosen, choose_precision("auto", chosen))

    def warm_up(self) -> None:
        """One picture through the network, so that the first request does not pay for set-up."""
        blank = np.zeros((self.card.preprocess.height, self.card.preprocess.width, 3), dtype=np.uint8)
        self.predict([blank])

    def prepare(self, rgb: np.ndarray) -> Prepared:
        """A decoded picture, uint8 RGB [H, W, 3], made ready for `forward`."""
        pixels = np.ascontiguousarray(self.card.preprocess.image(rgb))
        return Prepared(torch.from_numpy(pixels).permute(2, 0, 1), rgb.shape[0], rgb.shape[1])

    @torch.inference_mode()
    def forward(self, batch: Tensor) -> Tensor:
        """Pictures, uint8 [N, 3, h, w], to logits, float32 [N, K] or [N, K, h, w] on the device."""
        pixels = batch.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        self.model.eval()
        with self.precision.autocast():
            logits: Tensor = self.model(pixels)
        return logits.float()

    def finish(self, logits: Tensor, prepared: Prepared) -> Answer:
        """One picture's logits, [K] or [K, h, w], as its answer."""
        if self.card.task == "classification":
            threshold = self.card.threshold if self.card.activation == "sigmoid" else None
            return Classification(self._probabilities(logits).cpu().numpy(), self.card.class_names, threshold)
        height, width = prepared.height, prepared.width

        def probabilities() -> np.ndarray:
            return self._probabilities(restore(logits, self.card.preprocess, height, width)).cpu().numpy()

        labels = self._labels(restore(logits, self.card.preprocess, height, width))
        return Segmentation(labels, self.card.classes, probabilities)

    def predict(self, pictures: Sequence[np.ndarray], batch_size: int = 8) -> list[Answer]:
        """Decoded pictures, uint8 RGB [H, W, 3] of any sizes, to their answers, in order."""
        answers: list[Answer] = []
        for start in range(0, len(pictures), batch_size):
            prepared = [self.prepare(rgb) for rgb in pictures[start : start + batch_size]]
            logits = self.forward(torch.stack([item.pixels for item in prepared]))
            answers += [self.finish(*pair) for pair in zip(logits, prepared, strict=True)]
        return answers

    def _labels(self, logits: Tensor) -> np.ndarray:
        """Logits [K, H, W] to class indices, uint8 [H, W]."""
        if self.card.activation == "sigmoid":
            cut = float(torch.logit(torch.tensor(self.card.threshold)))
            return (logits[0] > cut).to(torch.uint8).cpu().numpy()
        return logits.argmax(dim=0).to(torch.uint8).cpu().numpy()

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Logits with K first to probabilities of every class; a mask's one logit becomes two probabilities."""
        if self.card.activation == "softmax":
            return torch.softmax(logits, dim=0)
        positive = torch.sigmoid(logits)
        return torch.cat([1 - positive, positive]) if self.card.task == "segmentation" else positive


def restore(logits: Tensor, preprocess: Preprocess, height: int, width: int) -> Tensor:
    """Logits float32 [K, h, w] over the picture they came from: [K, height, width].

    On the GPU where they lie there; by OpenCV on the CPU, which is several times faster at it than
    torch. Both are bilinear with half-pixel centres and differ by rounding alone.
    """
    if logits.device.type != "cpu":
        window = preprocess.window(height, width)
        inner = logits[:, window.top : window.top + window.height, window.left : window.left + window.width]
        return nn.functional.interpolate(inner[None], (height, width), mode="bilinear", align_corners=False)[0]
    planes = [preprocess.restore(plane, height, width) for plane in logits.numpy()]
    return torch.from_numpy(np.stack(planes) if len(planes) > 1 else planes[0][None])


def _lookup_table(values: Sequence[int]) -> np.ndarray:
    table = np.zeros(256, dtype=np.uint8)
    table[: len(values)] = values
    return table
