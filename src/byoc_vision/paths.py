"""Where SageMaker puts things. No other module knows these names.

Source: "How Amazon SageMaker provides training information" in the SageMaker developer guide.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ROOT = "/opt/ml"


@dataclass(frozen=True)
class MlPaths:
    """The folders and files below `root`, which stands for /opt/ml."""

    root: Path = Path(DEFAULT_ROOT)

    @classmethod
    def from_environment(cls, root: str | os.PathLike[str] | None = None) -> MlPaths:
        """`root` where given, else the variable ML_ROOT, else /opt/ml."""
        return cls(Path(root or os.environ.get("ML_ROOT") or DEFAULT_ROOT).absolute())

    @property
    def hyperparameters(self) -> Path:
        return self.root / "input/config/hyperparameters.json"

    @property
    def input_data_config(self) -> Path:
        return self.root / "input/config/inputdataconfig.json"

    @property
    def resource_config(self) -> Path:
        return self.root / "input/config/resourceconfig.json"

    @property
    def channels(self) -> Path:
        return self.root / "input/data"

    def channel(self, name: str) -> Path:
        return self.channels / name

    def pipe(self, name: str, epoch: int) -> Path:
        """The named pipe of a channel in Pipe mode: there is one an epoch, from 0."""
        return self.channels / f"{name}_{epoch}"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def models(self) -> Path:
        """Where a multi-model endpoint finds its models, each in a folder of its own."""
        return self.root / "models"

    @property
    def output_data(self) -> Path:
        return self.root / "output/data"

    @property
    def failure(self) -> Path:
        return self.root / "output/failure"

    @property
    def tensorboard(self) -> Path:
        return self.root / "output/tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"
