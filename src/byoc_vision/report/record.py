"""A job's record in /opt/ml/output/data: all that its report shows, as JSON and small images.

    metrics.json            the record below
    predictions.csv         a line for each image of validation and test
    confusion_matrix.csv    target (rows) by prediction (columns), of the best epoch's validation images
    confusion_matrix_test.csv    the same of the test images, if there are any
    preflight.json          the check of the data
    pictures/*.jpg, *.png   the galleries' images
    report.html             made from these files by the job, or again by `byoc-vision report`

torch is not imported here: a report can be made without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from byoc_vision.atomic_write import write_whole
from byoc_vision.errors import DataError
from byoc_vision.redaction import redact
from byoc_vision.types import ClassInfo, Task

RECORD_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.csv"
CONFUSION_FILE = "confusion_matrix.csv"
TEST_CONFUSION_FILE = "confusion_matrix_test.csv"
IMAGES_FOLDER = "pictures"
REPORT_FILE = "report.html"
SCHEMA_VERSION = 1

State = Literal["running", "finished", "stopped_early", "stopped_by_rule", "interrupted", "failed"]
GalleryName = Literal["worst", "best", "random"]


def _named(key: str, default: Any = ...) -> Any:
    """A field whose key in metrics.json differs from its name here: the keys are public and stay."""
    return Field(default, validation_alias=key, serialization_alias=key)


class _Part(BaseModel):
    # Fields of a later version are ignored; NaN is kept as null.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)


class Epoch(_Part):
    """learning_rate: at its start. seconds: with its validation; the other fields of its training alone.

    data_wait: the share of the time in which the device waited for images, 0–1.
    averaged: whether the validation is of the averaged weights.
    """

    epoch: int
    learning_rate: float
    train_loss: float | None
    validation: dict[str, float | None]
    seconds: float
    images_per_second: float = 0.0
    data_wait: float = 0.0
    averaged: bool = False


class Floor(_Part):
    """A linear classifier on the pretrained network's features: what a training must beat. seconds: it took."""

    validation: dict[str, float | None]
    seconds: float


class Finding(_Part):
    """A health rule that fired. evidence: the values that made it fire. remedy: what to do.

    step: of the epoch, from 1; None for rules about whole epochs. action: what followed.
    """

    rule: str
    epoch: int
    step: int | None = None
    evidence: str
    remedy: str
    action: Literal["warn", "stop"] = "warn"


class ClassScore(_Part):
    """A class's scores; None if they are undefined.

    support: pixels (segmentation) or images of the class in the target.
    """

    name: str
    support: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    iou: float | None = None
    average_precision: float | None = None


class CalibrationBin(_Part):
    """Images whose highest probability is in one tenth of 0–1. confidence, accuracy: means; None without images."""

    images: int = _named("pictures")
    confidence: float | None
    accuracy: float | None


class Example(_Part):
    """A validation image. image, target, prediction, difference: file names below pictures/.

    score: Dice (segmentation). actual, predicted: names of classes, several for multi-label.
    probability: of what was predicted. actual_probability: of the target.
    height, width: of the image itself, in pixels.
    """

    file: str
    height: int
    width: int
    image: str = _named("picture")
    target: str | None = _named("truth", None)
    prediction: str | None = None
    difference: str | None = None
    score: float | None = None
    actual: list[str] = []
    predicted: list[str] = []
    probability: float | None = None
    actual_probability: float | None = None

    @property
    def is_right(self) -> bool:
        return self.actual == self.predicted


class Evaluation(_Part):
    """A model's predictions for labelled images. epoch: after which; None for a model from elsewhere.

    confusion: [target][prediction], pixels or images; None for multi-label.
    dice_histogram: images by Dice, in twenty equal bins of 0–1 (segmentation).
    calibration, ece: expected calibration error over its bins (Guo et al., "On Calibration of Modern Neural Networks",
    2017); images with one class each.
    galleries: `worst` begins with the worst: the lowest Dice, or the most confident mistake.
    """

    split: str
    epoch: int | None
    images: int = _named("pictures")
    metrics: dict[str, float | None] = _named("figures")
    classes: list[ClassScore]
    confusion: list[list[int]] | None = None
    dice_histogram: list[int] | None = None
    calibration: list[CalibrationBin] | None = None
    ece: float | None = None
    galleries: dict[GalleryName, list[Example]] = {}


class StepTimes(_Part):
    """Seconds of one step, or the sum of many. other: the rest of the wall time."""

    data_wait: float = 0.0
    to_device: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    optimizer: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        return self.data_wait + self.to_device + self.forward + self.backward + self.optimizer + self.other


class SlowStep(_Part):
    epoch: int
    step: int
    seconds: float
    times: StepTimes


class Reading(_Part):
    """The machine's use at one moment. seconds: since the job began. Shares are 0–1, memory in bytes; None: unknown."""

    seconds: float
    cpu: float | None = None
    memory: int | None = None
    gpu: float | None = None
    gpu_memory: int | None = None


class Operator(_Part):
    """A line of the profiler's table. Seconds without those of operators that it called."""

    name: str
    calls: int
    cpu_seconds: float
    gpu_seconds: float


class Profile(_Part):
    """steps: the first and last step that was traced, over the whole job. trace: the file below output/data."""

    steps: tuple[int, int]
    trace: str
    operators: list[Operator]


class Times(_Part):
    """How long the parts of training steps took, in the first process. slowest: steps, the slowest first.

    memory_limit, gpu_memory_limit: bytes.
    """

    steps: int = 0
    total: StepTimes = StepTimes()
    slowest: list[SlowStep] = []
    readings: list[Reading] = []
    memory_limit: int | None = None
    gpu_memory_limit: int | None = None
    profile: Profile | None = None


class RecipeChoice(_Part):
    """A hyperparameter that the recipe chose, and why."""

    name: str
    value: Any
    reason: str


class BudgetPlan(_Part):
    """epochs, steps: of the whole training. training_ends, job_ends: seconds since the job's start; None: not yet."""

    epochs: int
    steps: int
    step_seconds: float
    evaluation_seconds: float
    training_ends: float | None = None
    job_ends: float | None = None


class BudgetRecord(_Part):
    """A job's time. budget: as it was set. planned: before the first step; actual: as it came.

    changes: how often the plan was changed. schedule: the share of the learning rate's schedule that the training goes
    through, 0–1.
    """

    budget: str
    seconds: float
    planned: BudgetPlan
    actual: BudgetPlan
    changes: int = 0
    schedule: float = 1.0


class Run(_Part):
    """What ran, on what hardware, and how to run it again.

    hyperparameters: all of them; given: the names of those that were set; choices: those that the recipe chose.
    versions: of Python and of the main packages. hardware: as in the log. weights: that the training began with.
    """

    hyperparameters: dict[str, Any]
    given: list[str] = []
    choices: list[RecipeChoice] = []
    versions: dict[str, str] = {}
    hardware: str = ""
    device: str = ""
    precision: str = ""
    hosts: int = 1
    processes: int = 1
    seed: int = 0
    revision: str | None = None
    model: str = ""
    weights: str = ""
    parameters: int = 0
    command: str = ""


class ServedPrecision(_Part):
    """A precision that a server on a CPU can take. validation: its metrics. milliseconds: for an image, on one machine.

    differing: the share of its predictions that differ from those in float32: images, or the pixels of masks.
    """

    precision: str
    validation: dict[str, float | None]
    milliseconds: float
    differing: float = 0.0


class Served(_Part):
    """What servers on CPUs give: the OpenVINO form on the validation images, in each precision.

    int8: `certified`, or why there is no INT8 form.
    """

    objective: str
    images: int = _named("pictures")
    precisions: list[ServedPrecision]
    int8: str


class Record(_Part):
    """A job so far.

    objective: the metric that chooses the best epoch, as in the log (`validation:dice`); objective_mode: whether higher
    values are better.
    best_epoch: 0 stands for the floor. soup: the epochs whose averaged weights are the model, if any.
    seconds: of this job so far. gpu_seconds: times the GPUs.
    served: of a job that wrote the OpenVINO form. budget: of a job with one.
    augmented: file names, below pictures/, of training images as the model saw them.
    unvalidated_classes: the names of those that no validation image shows.
    evaluations: the best epoch's on `validation`, and on `test` if there is one.
    """

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    package_version: str
    task: Task
    multi_label: bool = False
    name: str = ""
    state: State = "running"
    reason: str | None = None
    classes: list[ClassInfo]
    images: dict[str, int] = _named("pictures")
    objective: str
    objective_mode: Literal["max", "min"] = "max"
    floor: Floor | None = None
    best_epoch: int | None = None
    soup: list[int] = []
    validation: dict[str, float | None] = {}
    unvalidated_classes: list[str] = []
    test: dict[str, float | None] | None = None
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    epochs: list[Epoch] = []
    planned_epochs: int = 0
    findings: list[Finding] = []
    evaluations: list[Evaluation] = []
    times: Times | None = None
    augmented: list[str] = []
    served: Served | None = None
    budget: BudgetRecord | None = None
    run: Run


def read_record(folder: Path) -> Record:
    """The record in a job's output folder. Raises DataError that names the file."""
    path = folder / RECORD_FILE
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing; name the folder that a job's output.tar.gz unpacks to") from None
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} cannot be read as a job's record: {error}") from None


def write_record(folder: Path, record: Record) -> None:
    """Write the file as a whole, without the user info of URLs. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RECORD_FILE, redact(record.model_dump_json(indent=1)) + "\n")
