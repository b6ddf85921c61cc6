"""What rebuilds a network: its name and its sizes. Stored in the artifact, without its weights."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

Task = Literal["segmentation", "classification"]


class ModelSpec(BaseModel):
    """A network by name.

    architecture: `unet` (the classic one, where `encoder` is empty), a segmentation-models-pytorch
    architecture, `fcn_resnet50`, `fcn_resnet101`, or the name of a timm classifier.
    outputs: the number of logits a pixel or an image; 1 where two classes share one sigmoid.
    hidden_units, dropout_rate: the classifier's head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task
    architecture: str
    encoder: str | None = None
    outputs: PositiveInt
    hidden_units: tuple[PositiveInt, ...] = ()
    dropout_rate: float = 0.0
