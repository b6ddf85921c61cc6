"""The arguments of the launch scripts: steps, channels, instances, the search."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from byoc_vision.client import ClassesDeserializer, MaskDeserializer, classes_text, draw
from byoc_vision.describe.metrics import MetricDefinition, metric_definitions
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.recipe import Recipe, read_recipe, recipe_of
from byoc_vision.describe.space import SearchSpace
from byoc_vision.describe.tuning import Parameters, tuner_arguments
from byoc_vision.errors import InputError, UserError

LEARNING = ("train", "tune")
SERVING = ("deploy", "serverless", "async", "multi-model", "transform")
NOT_LOCAL = ("tune", "serverless", "async", "multi-model")
WARM_START_TYPES = ("TransferLearning", "IdenticalDataAndAlgorithm")
STEPS = (*LEARNING, *SERVING, "delete")

# Neither SDK is to call home.
NO_TELEMETRY = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}

_GPU_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"  # of an endpoint's drivers the one for CUDA 13
_GPU_FAMILIES = ("ml.g", "ml.p")
_LOCAL_ROLE = "arn:aws:iam::123456789012:role/local-mode-needs-none"
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SEARCH = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}")
_MOST_PARENTS = 5  # of a search, ParentHyperParameterTuningJobs
_LEAST_PATIENCE = 3  # MaxNumberOfTrainingJobsNotImproving
_NAME = re.compile(r"(?=.{1,15}$)[a-zA-Z0-9](-?[a-zA-Z0-9])*")  # a tuning job takes 32 characters


@dataclass(frozen=True)
class Options:
    """One run of a script.

    name, run: what the names of all resources begin with; of any run, and of this one. longest_job: seconds.
    price_per_hour: USD, of a training instance. objective: the metric that a search optimises and that the table of
    epochs shows first. shown_metrics: others that the table of a search shows. class_names: classes whose own metric
    SageMaker records. patience: jobs without improvement after which a search ends.
    """

    steps: tuple[str, ...]
    name: str
    run: str
    region: str | None
    recipe: Recipe
    image: str
    role: str
    channels: dict[str, Path]
    model: str | None
    picture: Path
    output: Path
    bucket: str | None
    training_instance: str
    serving_instance: str
    cpu_instance: str
    instance_count: int
    spot: bool
    longest_job: int
    jobs: int
    parallel_jobs: int
    objective: str
    shown_metrics: tuple[str, ...]
    class_names: tuple[str, ...]
    warm_start: tuple[str, ...]
    warm_start_type: str
    early_stopping: bool
    patience: int | None
    price_per_hour: float | None
    images_per_second: float | None
    check: bool
    every_line: bool
    serverless_mb: int
    local: bool
    port: int
    keep: bool
    yes: bool

    @property
    def hyperparameters(self) -> dict[str, str]:
        return dict(self.recipe.given)

    @property
    def environment(self) -> dict[str, str]:
        """Of the training container, which SageMaker does not give the limit that it sets."""
        return {"BYOC_MAX_RUNTIME_SECONDS": str(self.longest_job)}

    @property
    def metrics(self) -> tuple[MetricDefinition, ...]:
        return metric_definitions(self.recipe.task, classes=self.class_names)

    @property
    def search_space(self) -> SearchSpace:
        return search_space(self.recipe, self.objective)

    def tuner_arguments(self, parameters: Parameters) -> dict[str, Any]:
        """The recipe's objective and ranges in the classes of an SDK."""
        return tuner_arguments(self.search_space, self.metrics, parameters)

    @property
    def accept(self) -> str:
        return "image/png" if self.recipe.task == "segmentation" else "application/json"

    @property
    def deserializer(self) -> MaskDeserializer | ClassesDeserializer:
        return MaskDeserializer() if self.recipe.task == "segmentation" else ClassesDeserializer()

    @property
    def inference_ami_version(self) -> str | None:
        return _GPU_AMI if self.serving_instance.startswith(_GPU_FAMILIES) else None

    def called(self, step: str) -> str:
        """The name of what a step makes."""
        return f"{self.run}-{step}"

    def folder_of_picture(self) -> Path:
        """A folder that holds the picture alone."""
        folder = self.output / "pictures"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(self.picture, folder)
        return folder

    def show(self, step: str, answer: Any) -> None:
        """Write what the model answered to the picture, and the picture with the answer drawn on it."""
        if self.recipe.task == "segmentation":
            mask = self.output / f"{step}.mask.png"
            answer.save(mask)
            print(f"mask: {mask}")
        else:
            print("answer: " + ", ".join(classes_text(answer).splitlines()))
        drawn = self.output / f"{step}.png"
        draw(self.picture, answer).save(drawn)
        print(f"drawn: {drawn}", flush=True)


def read_options(description: str | None) -> Options:
    """From the command line. Ends the process, with the remedy, if something does not fit together."""
    parser = _parser(description)
    given = parser.parse_intermixed_args()
    given.steps = tuple(word for word in given.words if "=" not in word)
    hyperparameters = dict(word.split("=", 1) for word in given.words if "=" in word)
    if problem := _problem(given):
        parser.error(problem)
    try:
        given.recipe = recipe_of({**read_recipe(given.recipe).given, **hyperparameters})
        _read_metrics(given)
    except UserError as error:
        parser.error(str(error))
    if given.local:
        given.role = _LOCAL_ROLE
        given.training_instance = given.serving_instance = given.cpu_instance = "local"
    given.run = f"{given.name}-{time.strftime('%m%d-%H%M%S')}"
    given.channels = dict(given.channel)
    given.warm_start = tuple(given.warm_start)
    given.parallel_jobs = min(given.parallel_jobs, given.jobs)
    given.output = given.output.resolve()
    given.output.mkdir(parents=True, exist_ok=True)
    return Options(**{field.name: getattr(given, field.name) for field in fields(Options)})


def _read_metrics(given: argparse.Namespace) -> None:
    """The first one is the objective, by default the one that the recipe has. Raises InputError for unknown ones."""
    named = [metric if ":" in metric else f"validation:{metric}" for metric in given.metric]
    given.class_names = tuple(given.class_name)
    defined = [metric.name for metric in metric_definitions(given.recipe.task, classes=given.class_names)]
    if unknown := [metric for metric in named if metric not in defined]:
        raise InputError(f"--metric {', '.join(unknown)}: a job logs {', '.join(defined)}")
    given.objective = search_space(given.recipe, named[0] if named else None).objective.metric
    given.shown_metrics = tuple(named[1:])


def _problem(given: argparse.Namespace) -> str | None:
    steps = given.steps
    learning = [step for step in steps if step in LEARNING]
    if unknown := [step for step in steps if step not in STEPS]:
        return f"no such step: {', '.join(unknown)}; there are {', '.join(STEPS)}"
    if steps == ("delete",):
        return None
    if not steps or "delete" in steps or len(learning) > 1 or list(steps[: len(learning)]) != learning:
        return "name the steps: train or tune, and those that serve behind it; or delete alone"
    if learning and not given.channel:
        return "--channel: there is nothing to train on; --channel train=FOLDER names pictures"
    if missing := [str(folder) for _, folder in given.channel if not folder.is_dir()]:
        return f"--channel: no such folder: {', '.join(missing)}"
    if not learning and not given.model:
        return "--model: there is nothing to serve; name a model.tar.gz, or take the step train"
    if set(steps) & set(SERVING) and (given.picture is None or not given.picture.is_file()):
        return f"--picture: {given.picture or 'none'} is not a file; name an image to ask the model"
    if given.local and (elsewhere := [step for step in steps if step in NOT_LOCAL]):
        return f"--local: local mode knows no {', '.join(elsewhere)}; leave it out, or run it on SageMaker"
    if given.local and given.keep:
        return "--keep: a local endpoint ends with the script; docker run serves the model for longer"
    if not given.local and (problem := _account_problem(given)):
        return problem
    if problem := _search_problem(given):
        return problem
    if not _NAME.fullmatch(given.name):
        return f"--name: {given.name!r} has to be letters, digits and single hyphens, 15 at the most"
    return None


def _account_problem(given: argparse.Namespace) -> str | None:
    if not given.role:
        return "--role: give the ARN of the role that SageMaker assumes, or export SAGEMAKER_ROLE"
    if not _ROLE.fullmatch(given.role):
        name = given.role.rpartition("/")[2]
        shown = f"`aws iam get-role --role-name {name} --query Role.Arn --output text` prints it"
        return f"--role: {given.role!r} is not the ARN of a role, arn:aws:iam::123456789012:role/NAME; {shown}"
    if given.bucket and not _BUCKET.fullmatch(given.bucket):
        return f"--bucket: {given.bucket!r} is not a bucket's name; give the name without s3:// and folders"
    return None


def _search_problem(given: argparse.Namespace) -> str | None:
    if min(given.jobs, given.parallel_jobs) < 1:
        return f"--jobs={given.jobs}, --parallel-jobs={given.parallel_jobs}: a search needs 1 or more"
    if unknown := [name for name in given.warm_start if not _SEARCH.fullmatch(name)]:
        return f"--warm-start: {unknown[0]!r} is not the name of a tuning job; the step tune prints it"
    if len(given.warm_start) > _MOST_PARENTS:
        return f"--warm-start: SageMaker takes {_MOST_PARENTS} earlier tuning jobs, not {len(given.warm_start)}"
    if given.patience is not None and given.patience < _LEAST_PATIENCE:
        return f"--patience: SageMaker takes {_LEAST_PATIENCE} jobs or more, not {given.patience}"
    return None


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("words", nargs="*", metavar="STEP | NAME=VALUE", help="steps, and hyperparameters")
    option("--local", action="store_true", help="run on this machine, in local mode")
    option("--image", default=os.environ.get("IMAGE_URI", "byoc-vision:latest"), help="its URI ($IMAGE_URI)")
    option("--role", default=os.environ.get("SAGEMAKER_ROLE"), help="its ARN ($SAGEMAKER_ROLE)")
    option("--region", help="of everything (AWS_REGION, AWS_DEFAULT_REGION, the AWS profile's, the image's)")
    option("--bucket", help="its name; for images and models (SageMaker's default bucket)")
    option("--name", default="byoc-vision", help="what all that is made begins with (%(default)s)")
    option("--channel", type=_channel, action="append", default=[], metavar="NAME=FOLDER", help="pictures")
    option("--recipe", default="segmentation", help="a hyperparameters.json, its folder, or a task (%(default)s)")
    option("--model", metavar="ADDRESS", help="a model.tar.gz, s3://… or file://…, instead of training")
    option("--picture", type=Path, help="what the model is asked")
    option("--output", type=Path, default=Path("build/on_sagemaker"), metavar="FOLDER", help="(%(default)s)")
    option("--training-instance", default="ml.g5.xlarge", metavar="TYPE", help="(%(default)s)")
    option("--serving-instance", default="ml.g4dn.xlarge", metavar="TYPE", help="of deploy (%(default)s)")
    option("--cpu-instance", default="ml.c7i.xlarge", metavar="TYPE", help="of the other endpoints (%(default)s)")
    option("--instance-count", type=int, default=1, metavar="N", help="of a training job (%(default)s)")
    option("--no-spot", dest="spot", action="store_false", help="train on instances that are not taken away")
    option("--longest-job", type=int, default=3600, metavar="SECONDS", help="(%(default)s)")
    option("--jobs", type=int, default=10, metavar="N", help="of a search (%(default)s)")
    option("--parallel-jobs", type=int, default=2, metavar="N", help="of them at once (%(default)s)")
    option(
        "--metric", action="append", default=[], metavar="NAME", help="of a search: the objective, then others to show"
    )
    option("--class-name", action="append", default=[], metavar="CLASS", help="record the metric of this class, too")
    option("--warm-start", action="append", default=[], metavar="JOB", help="an earlier tuning job to learn from")
    option("--warm-start-type", choices=WARM_START_TYPES, default=WARM_START_TYPES[0], help="(%(default)s)")
    option("--no-early-stopping", dest="early_stopping", action="store_false", help="train weak jobs to their end")
    option("--patience", type=int, metavar="N", help="end a search after N jobs without improvement")
    option("--price-per-hour", type=float, metavar="USD", help="of a training instance, for the expected cost")
    option("--images-per-second", type=float, metavar="N", help="of training, for the expected duration")
    option("--no-check", dest="check", action="store_false", help="do not read the images on this machine before")
    option("--log", dest="every_line", action="store_true", help="show every line of the job's log in a terminal, too")
    option("--serverless-mb", type=int, default=4096, metavar="MB", help="memory (%(default)s)")
    option("--port", type=int, default=8080, help="of the local endpoint (%(default)s)")
    option("--keep", action="store_true", help="delete nothing; the step delete does it later")
    option("--yes", action="store_true", help="ask nothing before something is started that costs")
    return parser


def _channel(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER")
    return name, Path(folder).resolve()
