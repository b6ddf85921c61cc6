"""What a trained model is on disk, the contract between training and inference.

A folder (or the tarball SageMaker makes of it) with `model.safetensors` and `model.json`. No pickle:
loading a model runs no code of its author. It may also hold the same network as OpenVINO reads it: see
inference/openvino_model.py.

torch is imported where weights are read or written, not above: a server can do without.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from byoc_vision import __version__
from byoc_vision.archives import MODELS, unpacked
from byoc_vision.atomic_write import renamed_into_place, write_whole
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1  # of model.json; also `ModelConfig.format_version`
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "model.json"
OPENVINO_FOLDER = "openvino"  # what is in it: inference/openvino_model.py


class ModelConfig(BaseModel):
    """All that inference needs to know beside the weights.

    activation: `sigmoid` for two classes with one logit, and for multi-label predictions;
    `softmax` otherwise. threshold: the probability of a sigmoid above which an image or a pixel has the class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    package_version: str = __version__
    model: ModelSpec
    classes: Annotated[tuple[ClassInfo, ...], Field(min_length=1)]
    activation: Literal["sigmoid", "softmax"]
    threshold: float = 0.5
    preprocess: Preprocess
    metrics: dict[str, float] = {}

    @property
    def task(self) -> str:
        return self.model.task

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)


def save(folder: Path, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Write the artifact into `folder`, each file beside its place and then renamed.

    The model config comes last: a folder that has one is whole. What was made of other weights is removed.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / OPENVINO_FOLDER, ignore_errors=True)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with renamed_into_place(folder / WEIGHTS_FILE) as path:
        save_file(contiguous, path, metadata={"format": "pt", "byoc_vision": __version__})
    write_whole(folder / CONFIG_FILE, config.model_dump_json(indent=2) + "\n")


def load(source: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The model config and the weights of an artifact, as `opened` finds it.

    Raises DataError, which names what is missing or damaged.
    """
    with opened(source) as folder:
        return read_config(folder), read_weights(folder)


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """The folder with an artifact's files: of a folder, a folder nested one deep, or a .tar.gz of either.

    Raises DataError if there is none, or the archive is damaged or holds what a model does not; see `Unpacker`.
    """
    if source.is_dir():
        yield find_folder(source)
    elif source.is_file():
        with unpacked(source, MODELS) as folder:
            yield find_folder(folder)
    else:
        problem = "is neither a folder nor a file" if source.exists() else "does not exist"
        raise DataError(
            f"{source} {problem}; a model is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or its .tar.gz"
        )


def find_folder(folder: Path) -> Path:
    """The folder that holds the artifact: `folder` itself or its one child (archives are often nested)."""
    if (folder / CONFIG_FILE).is_file():
        return folder
    nested = [child for child in sorted(folder.iterdir()) if (child / CONFIG_FILE).is_file()]
    if len(nested) == 1:
        return nested[0]
    if nested:
        names = ", ".join(child.name for child in nested)
        raise DataError(f"{folder} holds several models ({names}); point at one of them")
    found = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
    raise DataError(
        f"{folder} holds no model: {CONFIG_FILE} and {WEIGHTS_FILE} are missing (it holds: {found}). "
        "Give it the model.tar.gz of a training job of this image"
    )


def read_config(folder: Path) -> ModelConfig:
    """The model config of the artifact in a folder. Raises DataError where it is missing or damaged."""
    path = folder / CONFIG_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise unreadable(error) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON ({error}); the model must be saved again") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path} has format_version {version!r}; this image ({__version__}) reads {FORMAT_VERSION}. "
            "Serve it with the image that trained it, or train again"
        )
    try:
        return ModelConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {field}: {first['msg']}; the model must be saved again") from error


def unreadable(error: PermissionError) -> DataError:
    """What to say of a file of an artifact that this process may not read."""
    return DataError(
        f"{error.filename} may not be read by user {os.geteuid()} ({error.strerror}); make it readable, as with "
        "chmod -R a+rX, or run as a user who may read it"
    )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the artifact in a folder. Raises DataError where they are missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    try:
        path.open("rb").close()  # of a file that may not be read safetensors says that it is not there
        return load_file(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; the model must be saved again") from error
    except PermissionError as error:
        raise unreadable(error) from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged ({error}); fetch or train the model again") from error
