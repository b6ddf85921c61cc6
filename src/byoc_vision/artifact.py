"""What a trained model is on disk, the contract between training and inference.

A folder (or the tarball SageMaker makes of it) with `model.safetensors`, `model.json` and the SHA-256 of both in
`checksums.json`. No pickle: loading a model runs no code of its author. It may also hold the same network as OpenVINO
reads it: see inference/openvino_model.py.

torch is imported where weights are read or written, not above: a server can do without.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from byoc_vision import __version__, archives, checksums
from byoc_vision.atomic_write import renamed_into_place, write_whole, written_or_named
from byoc_vision.checksums import CHECKSUMS_FILE
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec, name_problem

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1  # of model.json; also `ModelConfig.format_version`
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "model.json"
OPENVINO_FOLDER = "openvino"  # what is in it: inference/openvino_model.py

LONGEST_SIDE = 16_384  # pixels of the model's input
MOST_PIXELS = 2**26  # of the model's input: 8192 × 8192
MOST_MASK_CLASSES = 256  # a mask's pixel is one byte

_MODEL = archives.Wanted(
    file=CONFIG_FILE,
    plural="models",
    missing=f"holds no model: {CONFIG_FILE} and {WEIGHTS_FILE} are missing",
    remedy="give the model.tar.gz of a training job of this image, the folder that it unpacks to, or a model with your "
    "own script, code/inference.py",
)

logger = logging.getLogger(__name__)


class ModelConfig(BaseModel):
    """All that inference needs to know beside the weights.

    activation: `sigmoid` for two classes with one logit, and for multi-label predictions;
    `softmax` otherwise. threshold: the probability of a sigmoid above which an image or a pixel has the class.
    min_area: of masks with one logit, the share of the image below which connected parts of the second class become the
    first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    package_version: str = __version__
    model: ModelSpec
    classes: Annotated[tuple[ClassInfo, ...], Field(min_length=1)]
    activation: Literal["sigmoid", "softmax"]
    threshold: float = 0.5
    min_area: float = 0.0
    preprocess: Preprocess
    metrics: dict[str, float] = {}

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        """All that fields alone do not show. Raises ValueError that names each field."""
        if problems := [*_spec_problems(self), *_class_problems(self), *_input_problems(self)]:
            raise ValueError("; ".join(problems))
        return self

    @property
    def task(self) -> str:
        return self.model.task

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)


def _spec_problems(config: ModelConfig) -> Iterator[str]:
    spec, classes = config.model, len(config.classes)
    if not 0 <= config.threshold <= 1:
        yield f"threshold is {config.threshold}; it must be from 0 to 1"
    if not 0 <= (spec.dropout_rate or 0.0) < 1:
        yield f"model.dropout_rate is {spec.dropout_rate}; it must be at least 0 and below 1"
    one_logit = spec.task == "segmentation" and config.activation == "sigmoid"
    if not 0 <= config.min_area < 1:
        yield f"min_area is {config.min_area}; it must be at least 0 and below 1"
    elif config.min_area and not one_logit:
        yield f"min_area is {config.min_area}; it is for masks with one output for two classes"
    if one_logit and (spec.outputs, classes) != (1, 2):
        yield (
            f"model.outputs is {spec.outputs} for {classes} classes; segmentation with activation=sigmoid has one "
            "output for two classes"
        )
    if not one_logit and spec.outputs != classes:
        yield f"model.outputs is {spec.outputs} for {classes} classes; there must be one output for each class"


def _class_problems(config: ModelConfig) -> Iterator[str]:
    for problem in filter(None, map(name_problem, config.class_names)):
        yield f"classes: {problem}"
    if doubled := _doubled(config.class_names):
        yield f"classes have the name {doubled[0]!r:.100} more than once; names must differ"
    if config.model.task == "segmentation":
        values = [index if entry.value is None else entry.value for index, entry in enumerate(config.classes)]
        if len(values) > MOST_MASK_CLASSES:
            yield f"classes are {len(values)}; masks have at most {MOST_MASK_CLASSES}"
        elif doubled := _doubled(values):
            yield f"classes have the value {doubled[0]} more than once; the values in masks must differ"


def _input_problems(config: ModelConfig) -> Iterator[str]:
    rule = config.preprocess
    if config.model.task == "segmentation" and rule.resize == "short_side":
        yield "preprocess.resize is short_side; segmentation needs whole images: stretch or letterbox"
    for name, side in (("height", rule.height), ("width", rule.width), ("short_side", rule.short_side or 1)):
        if side > LONGEST_SIDE:
            yield f"preprocess.{name} is {side}; this image supports up to {LONGEST_SIDE} pixels"
    if rule.height * rule.width > MOST_PIXELS:
        yield f"preprocess.height × width is {rule.height * rule.width}; this image supports up to {MOST_PIXELS} pixels"
    if not all(map(math.isfinite, rule.mean)):
        yield f"preprocess.mean is {list(rule.mean)}; it must be finite numbers"
    if not all(math.isfinite(value) and value > 0 for value in rule.std):
        yield f"preprocess.std is {list(rule.std)}; it must be finite numbers above 0"


def _doubled(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]


def save(folder: Path, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Write the artifact into `folder`, each file beside its place and then renamed.

    Both are written before one is renamed, so a whole model that is there stays if the disk is full. The checksums come
    last, after the model config: a folder that has them is whole. What was made of other weights is removed.

    Raises ResourceError, which names the file, the free bytes and the need.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    need = sum(tensor.nbytes for tensor in contiguous.values())
    with written_or_named(folder / WEIGHTS_FILE, need, (OSError, SafetensorError)):
        folder.mkdir(parents=True, exist_ok=True)
        with renamed_into_place(folder / CONFIG_FILE) as described, renamed_into_place(folder / WEIGHTS_FILE) as path:
            described.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
            save_file(contiguous, path, metadata={"format": "pt", "byoc_vision": __version__})
            shutil.rmtree(folder / OPENVINO_FOLDER, ignore_errors=True)
            (folder / CHECKSUMS_FILE).unlink(missing_ok=True)
        digests = {name: checksums.sha256(folder / name) for name in (CONFIG_FILE, WEIGHTS_FILE)}
        write_whole(folder / CHECKSUMS_FILE, checksums.to_json(digests))


def load(source: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The model config and the weights of an artifact, as `opened` finds it.

    Raises DataError, which names what is missing, damaged or changed.
    """
    with opened(source) as folder:
        config = read_config(folder)
        with verified_beside(folder):
            return config, read_weights(folder)


@contextmanager
def verified_beside(folder: Path) -> Iterator[None]:
    """Compare the artifact's files with their checksums in a thread, while the block loads them.

    An artifact from before there were checksums is loaded with a warning. Raises DataError, at the block's end, that
    names the file which is damaged or was changed; also if the block fails, since that explains most other errors.
    """
    digests = checksums.read(folder)
    if digests is None:
        logger.warning(
            "%s has no %s, so whether its files are whole is not verified; this image writes it when it trains",
            folder,
            CHECKSUMS_FILE,
        )
        yield
        return
    with ThreadPoolExecutor(1, thread_name_prefix="checksums") as pool:
        verification = pool.submit(checksums.verify, folder, digests, (CONFIG_FILE, WEIGHTS_FILE))
        try:
            yield
        except Exception as error:
            if isinstance(changed := verification.exception(), DataError):
                raise changed from error
            raise
        verification.result()


def opened(source: Path) -> AbstractContextManager[Path]:
    """The folder with an artifact's files: of a folder, a folder nested one deep, or a .tar.gz of either.

    Raises DataError if there is none; see `archives.opened`.
    """
    return archives.opened(source, _MODEL, archives.MODELS)


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
        config = ModelConfig.model_validate(content)
        if unknown := [name for name, value in config.metrics.items() if not math.isfinite(value)]:
            raise DataError(f"{path}: metrics.{unknown[0]:.100} is not a finite number; fetch or train the model again")
        return config
    except ValidationError as error:
        raise DataError(f"{path}: {_first_problem(error)}; fetch or train the model again") from error


def _first_problem(error: ValidationError) -> str:
    """The field and what is wrong with it."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


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
