"""Groups of names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smdebug.core.reduction_config import ReductionConfig
from smdebug.core.save_config import SaveConfig


@dataclass
class Collection:
    """A group of names. Only losses and scalars are recorded, whatever a collection includes."""

    name: str
    include_regex: list[str] = field(default_factory=list)
    tensor_names: set[str] = field(default_factory=set)
    save_config: SaveConfig | None = None
    reduction_config: ReductionConfig | None = None

    def include(self, *patterns: str) -> None:
        self.include_regex.extend(patterns)

    def add(self, *names: Any) -> None:
        """Accepted and ignored."""


class CollectionKeys:
    """Names of the collections."""

    DEFAULT, ALL, WEIGHTS, BIASES, GRADIENTS = "default", "all", "weights", "biases", "gradients"
    LOSSES, METRICS, INPUTS, OUTPUTS, SCALARS = "losses", "metrics", "inputs", "outputs", "scalars"
