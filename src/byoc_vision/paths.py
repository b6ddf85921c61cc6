"""SageMaker's folders and files. No other module contains these paths.

Source: "How Amazon SageMaker provides training information" in the SageMaker developer guide.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ROOT = "/opt/ml"


class _Below:
    """A folder or file below the root."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, paths: MlPaths, owner: type[MlPaths]) -> Path:
        return paths.root / self._path


@dataclass(frozen=True)
class MlPaths:
    """The folders and files below `root`, which is /opt/ml by default.

    checkpoint_folder, data_folder: where the job has its checkpoints and its data, if not in the usual folder.
    """

    root: Path = Path(DEFAULT_ROOT)
    checkpoint_folder: Path | None = None
    data_folder: Path | None = None

    hyperparameters = _Below("input/config/hyperparameters.json")
    input_data_config = _Below("input/config/inputdataconfig.json")
    resource_config = _Below("input/config/resourceconfig.json")
    checkpoint_config = _Below("input/config/checkpointconfig.json")
    training_job_config = _Below("input/config/trainingjobconfig.json")
    model = _Below("model")
    models = _Below("models")  # of a multi-model endpoint, each in its own folder
    output_data = _Below("output/data")
    failure = _Below("output/failure")
    tensorboard = _Below("output/tensorboard")

    @classmethod
    def from_environment(cls, root: str | os.PathLike[str] | None = None) -> MlPaths:
        """`root` if given, otherwise the variable ML_ROOT, otherwise /opt/ml."""
        return cls(Path(root or os.environ.get("ML_ROOT") or DEFAULT_ROOT).absolute())

    @property
    def channels(self) -> Path:
        return self.data_folder or self.root / "input/data"

    def channel(self, name: str) -> Path:
        return self.channels / name

    def pipe(self, name: str, epoch: int) -> Path:
        """The named pipe of a channel in Pipe mode: one for each epoch, from 0."""
        return self.channels / f"{name}_{epoch}"

    @property
    def checkpoints(self) -> Path:
        return self.checkpoint_folder or self.root / "checkpoints"

    def local(self, path: str) -> Path:
        """A path that SageMaker gives, on this machine: below `root` if it is below /opt/ml."""
        below = Path(path)
        return self.root / below.relative_to(DEFAULT_ROOT) if below.is_relative_to(DEFAULT_ROOT) else below
