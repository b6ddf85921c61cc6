"""The interface of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, Union

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

EngineName = Literal["auto", "torch", "openvino"]
NamedPrecision = Literal["float32", "bfloat16", "int8"]
TorchPrecision = Literal["auto", "float32", "bfloat16"]
EnginePrecision = Literal["auto", NamedPrecision]  # auto: what the device is fastest in; see `load_engine`

NO_INT8 = (
    "precision=int8: this model has no INT8 form; set precision to auto, float32 or bfloat16 (PRECISION of a server, "
    "--precision of a command), or train it with int8=true"
)

# A tensor if a GPU computes them: they stay on the GPU until postprocessing.
Logits: TypeAlias = Union[np.ndarray, "Tensor"]


class Engine(Protocol):
    """A network on a device."""

    @property
    def name(self) -> str:
        """The engine and its number format, for people."""

    @property
    def device(self) -> str:
        """The device in torch's notation: `cpu`, `cuda:0`."""

    @property
    def streams(self) -> int:
        """How many threads may be in `run` at a time. With more than one, batches gain nothing over single images."""

    def run(self, images: np.ndarray) -> Logits:
        """RGB images, uint8 [N, h, w, 3], to logits, float32 [N, K] or [N, K, h, w]."""

    def warm_up(self, images: np.ndarray) -> None:
        """Run up to this many images once, so that later calls of `run` are fast."""
