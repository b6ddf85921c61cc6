"""The hyperparameters: one typed model, read from any client's strings, every mistake in one message."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from byoc_vision.data.preprocess import ResizeRule
from byoc_vision.dialect import decode
from byoc_vision.errors import InputError, list_problems
from byoc_vision.json_files import read_object

# Keys that a client adds for itself: the tuner's objective, and the training toolkits' own.
_FOREIGN_PREFIXES = ("_tuning_", "sagemaker_")


def _as_numbers(value: Any) -> Any:
    """`"10, 20"`, `[10, 20]` and `10` are all a list of numbers."""
    if isinstance(value, str):
        return [part for part in value.replace(",", " ").split() if part]
    if isinstance(value, int | float):
        return [value]
    return value


def _as_size(value: Any) -> Any:
    """`256` is a square; `"320, 480"` is height and width."""
    numbers = _as_numbers(value)
    return numbers * 2 if isinstance(numbers, list) and len(numbers) == 1 else numbers


def _as_name(value: Any) -> Any:
    return value.strip().lower().replace("-", "_") if isinstance(value, str) else value


PrecisionName = Annotated[Literal["auto", "float32", "bfloat16", "float16"], BeforeValidator(_as_name)]
Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_as_size)]
Epochs = Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_numbers)]
Units = Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_numbers)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _field(default: Any, description: str, *aliases: str) -> Any:
    """A field with its line of documentation and the other names it goes by."""
    return Field(default=default, description=description, json_schema_extra={"aliases": list(aliases)})


class Hyperparameters(BaseModel):
    """What a job can be told. Each field's description is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    # The task and the data
    task: Annotated[Literal["auto", "segmentation", "classification"], BeforeValidator(_as_name)] = _field(
        "auto", "What to learn. `auto` sees it from the data: class folders or pictures with masks."
    )
    num_classes: Annotated[int, Field(ge=2, le=10_000)] | None = _field(
        None, "The number of classes. Seen from the data where it is not given, checked where it is."
    )
    num_training_samples: PositiveInt | None = _field(
        None, "The number of training pictures. Counted in any case; a warning where it differs."
    )
    ignore_index: Annotated[int, Field(ge=0, le=255)] | None = _field(
        None, "The mask value that no loss and no metric counts. 255 where masks have more than two values."
    )
    validation_split: Annotated[float, Field(gt=0, lt=1)] = _field(
        0.2, "The share of the training pictures held out where there is no `validation` channel."
    )

    # The model
    model: str = _field(
        "auto",
        "`unet`, `unet_small`, `unetplusplus`, `fpn`, `pspnet`, `deeplabv3`, `deeplabv3plus`, … (with `encoder`), "
        "`fcn_resnet50`, `fcn_resnet101`, or any timm classifier. `auto`: `unet` or `resnet18`.",
        "architecture",
    )
    encoder: str | None = _field(
        None, "The encoder of a segmentation model. `unet` without one is the classic U-Net.", "backbone"
    )
    pretrained: bool | Annotated[Literal["auto"], BeforeValidator(_as_name)] = _field(
        "auto",
        "Start from pretrained weights. `auto`: where a `pretrained` channel or the image has them; "
        "`true` also asks the hub, and fails where none can be had.",
        "use_pretrained_model",
    )
    hidden_units: Units = _field(
        (), "Hidden layers of the classifier's head, as `512` or `512, 128`. None: one linear layer."
    )
    dropout_rate: Fraction = _field(0.0, "Dropout in the classifier's head.", "dropout")

    # The pictures
    image_size: Size | None = _field(
        None, "The model's input, as `256` or `height, width`. 256 for segmentation, 224 for classification."
    )
    resize: Annotated[ResizeRule, BeforeValidator(_as_name)] | None = _field(
        None,
        "How a picture is fitted into `image_size`: `stretch`, `letterbox`, or for classification "
        "`short_side` (cut around the centre). `stretch` for segmentation, `short_side` for classification.",
    )
    augmentation: Annotated[Literal["none", "flip", "light", "strong"], BeforeValidator(_as_name)] = _field(
        "light", "How much training pictures are varied."
    )

    # The optimisation
    epochs: PositiveInt = _field(10, "Passes over the training pictures.", "num_epochs")
    batch_size: PositiveInt = _field(
        16, "Pictures a step and process (one process a GPU).", "mini_batch_size", "train_batch_size"
    )
    validation_batch_size: PositiveInt | None = _field(
        None,
        "Pictures a step in evaluation. As `batch_size` where it is not given.",
        "validation_mini_batch_size",
        "test_batch_size",
    )
    loss: Annotated[Literal["auto", "cross_entropy", "dice", "bce_dice", "focal"], BeforeValidator(_as_name)] = _field(
        "auto", "`auto`: `bce_dice` for segmentation, `cross_entropy` for classification."
    )
    optimizer: Annotated[Literal["adamw", "adam", "sgd", "nag", "rmsprop", "adagrad"], BeforeValidator(_as_name)] = (
        _field("adamw", "The optimiser. `nag` is SGD with Nesterov's momentum.")
    )
    learning_rate: PositiveFloat = _field(1e-3, "The highest learning rate of the schedule.", "lr")
    momentum: Fraction = _field(0.9, "For `sgd`, `nag` and `rmsprop`.")
    weight_decay: NonNegativeFloat = _field(1e-4, "Not applied to biases and normalisation layers.")
    lr_scheduler: Annotated[Literal["cosine", "poly", "step", "one_cycle", "constant"], BeforeValidator(_as_name)] = (
        _field("cosine", "How the learning rate falls, step by step.")
    )
    lr_scheduler_step: Epochs = _field((10, 20), "For `step`: the epochs after which the learning rate falls.")
    lr_scheduler_factor: Annotated[float, Field(gt=0, lt=1)] = _field(0.1, "For `step`: by how much it falls.")
    warmup_epochs: NonNegativeFloat = _field(0.0, "Epochs, also parts of one, of linear warm-up.")
    precision: PrecisionName = _field(
        "auto", "`auto`: bfloat16 where the hardware has it, float16 with scaling on older GPUs.", "precision_dtype"
    )
    clip_grad_norm: NonNegativeFloat = _field(0.0, "The largest norm of the gradient; 0 sets no limit.")

    # The run
    early_stopping: bool = _field(False, "Stop when the validation metric no longer improves.")
    early_stopping_patience: PositiveInt = _field(5, "Epochs without improvement before the stop.")
    early_stopping_min_epochs: NonNegativeInt = _field(5, "No stop before this many epochs.")
    early_stopping_tolerance: NonNegativeFloat = _field(0.0, "What counts as improvement, in the metric's units.")
    num_workers: NonNegativeInt | None = _field(
        None, "Processes that read pictures. Chosen from cores and shared memory where it is not given.", "workers"
    )
    seed: NonNegativeInt = _field(42, "The seed of everything random.")

    @model_validator(mode="after")
    def _check_together(self) -> Hyperparameters:
        if self.task == "segmentation" and self.resize == "short_side":
            raise PydanticCustomError(
                "resize",
                "resize: short_side cuts pictures, so parts of a mask would be missing; use stretch or letterbox",
            )
        return self


def aliases() -> dict[str, str]:
    """Every name that is understood → the field it sets."""
    names = {name: name for name in Hyperparameters.model_fields}
    for name, field in Hyperparameters.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        for alias in extra["aliases"]:  # type: ignore[union-attr]
            names[str(alias)] = name
    return names


def read(path: Path) -> Hyperparameters:
    """The hyperparameters of a job. No file means all defaults, as in a plain `docker run`.

    Raises InputError with every mistake at once.
    """
    return parse(read_raw(path))


def read_raw(path: Path) -> dict[str, Any]:
    """The file as it is: every key, the clients' own too."""
    return read_object(path, example='{"epochs": "10"}')


def parse(raw: Mapping[str, Any]) -> Hyperparameters:
    """Raw keys and values, in any client's dialect, as validated hyperparameters.

    Raises InputError with every mistake at once: unknown names with the nearest known one, one field
    given under two names, and each value that does not fit.
    """
    known = aliases()
    problems: list[str] = []
    values: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    for key, text in raw.items():
        if key.startswith(_FOREIGN_PREFIXES):
            continue
        field = known.get(key)
        if field is None:
            problems.append(_unknown(key, known))
            continue
        value = decode(text)
        if value is None or value == "":
            continue
        if field in values and values[field] != value:
            problems.append(f"{key}: is another name of {given_as[field]}, and the two differ; give one of them")
            continue
        values[field], given_as[field] = value, key
    try:
        parsed = Hyperparameters.model_validate(values)
    except ValidationError as error:
        problems += _describe(error, given_as, raw)
    if problems:
        count = "A hyperparameter is wrong:" if len(problems) == 1 else f"{len(problems)} hyperparameters are wrong:"
        raise InputError(list_problems(count, problems))
    return parsed


def _unknown(key: str, known: Mapping[str, str]) -> str:
    nearest = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {nearest[0]}?" if nearest else "the README lists those that are"
    return f"{key}: is not known; {hint}"


def _describe(error: ValidationError, given_as: Mapping[str, str], raw: Mapping[str, Any]) -> list[str]:
    """A line for each field; a field that may be of several kinds has one complaint of each."""
    complaints: dict[str, list[str]] = {}
    for item in error.errors():
        field = str(item["loc"][0]) if item["loc"] else ""
        complaints.setdefault(field, []).append(_lower_first(item["msg"]))
    return [
        f"{given_as[field]}: {', or '.join(texts)} (given: {str(raw[given_as[field]])[:60]!r})" if field else texts[0]
        for field, texts in complaints.items()
    ]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
