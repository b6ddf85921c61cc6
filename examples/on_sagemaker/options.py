"""What the SDK scripts are told: steps, channels, machines. And what they say before anything is paid for."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from byoc_vision.client import ClassesDeserializer, MaskDeserializer, classes_text, draw
from byoc_vision.describe.metrics import MetricDefinition, metric_definitions
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.recipe import Recipe, read_recipe, recipe_of
from byoc_vision.describe.tuning import Parameters, tuner_arguments
from byoc_vision.errors import UserError

LEARNING = ("train", "tune")
SERVING = ("deploy", "serverless", "async", "multi-model", "transform")
NOT_LOCAL = ("tune", "serverless", "async", "multi-model")
STEPS = (*LEARNING, *SERVING, "delete")

# Neither SDK is to call home.
NO_TELEMETRY = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}

_GPU_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"  # of an endpoint's drivers the one for CUDA 13
_GPU_FAMILIES = ("ml.g", "ml.p")
_PRICES = "https://aws.amazon.com/sagemaker/ai/pricing/"
_LOCAL_ROLE = "arn:aws:iam::123456789012:role/local-mode-needs-none"
_NAME = re.compile(r"(?=.{1,15}$)[a-zA-Z0-9](-?[a-zA-Z0-9])*")  # a tuning job takes 32 characters


@dataclass(frozen=True)
class Options:
    """One run of a script. run: what all that is made begins with. longest_job: seconds."""

    steps: tuple[str, ...]
    run: str
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
    serverless_mb: int
    local: bool
    port: int
    keep: bool
    yes: bool

    @property
    def hyperparameters(self) -> dict[str, str]:
        return dict(self.recipe.given)

    @property
    def metrics(self) -> tuple[MetricDefinition, ...]:
        return metric_definitions(self.recipe.task)

    def tuner_arguments(self, parameters: Parameters) -> dict[str, Any]:
        """The recipe's objective and ranges in the classes of an SDK."""
        return tuner_arguments(search_space(self.recipe), self.metrics, parameters)

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
    """From the command line. Ends the process, with what to mend, where it does not fit together."""
    parser = _parser(description)
    given = parser.parse_intermixed_args()
    given.steps = tuple(word for word in given.words if "=" not in word)
    hyperparameters = dict(word.split("=", 1) for word in given.words if "=" in word)
    if problem := _problem(given):
        parser.error(problem)
    try:
        given.recipe = recipe_of({**read_recipe(given.recipe).given, **hyperparameters})
    except UserError as error:
        parser.error(str(error))
    if given.local:
        given.role = _LOCAL_ROLE
        given.training_instance = given.serving_instance = given.cpu_instance = "local"
    given.run = f"{given.name}-{time.strftime('%m%d-%H%M%S')}"
    given.channels = dict(given.channel)
    given.output = given.output.resolve()
    given.output.mkdir(parents=True, exist_ok=True)
    return Options(**{field.name: getattr(given, field.name) for field in fields(Options)})


def agree(options: Options) -> None:
    """Say what will be started, and ask. Ends the process where the answer is no."""
    if options.local or options.steps == ("delete",):
        return
    print("\n".join(["This is what you will pay for:", *_paid_for(options), f"Prices: {_PRICES}"]), flush=True)
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise SystemExit("Nothing was started; --yes goes on without a question.")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise SystemExit("Nothing was started.")


def _paid_for(options: Options) -> Iterator[str]:
    for step in options.steps:
        if step in LEARNING:
            job = f"{options.instance_count} × {options.training_instance}{', spot' if options.spot else ''}"
            job += f", {options.longest_job // 60} minutes at the most"
            yield f"  {step}: {job}" if step == "train" else f"  tune: {options.jobs} jobs, each {job}"
        elif step == "serverless":
            yield f"  serverless: a request with {options.serverless_mb} MB of memory"
        else:
            instance = options.serving_instance if step == "deploy" else options.cpu_instance
            yield f"  {step}: 1 × {instance}, {'until you delete it' if options.keep else 'for some minutes'}"
    yield "  what lies in S3 meanwhile"


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
        return f"--picture: {given.picture or 'none'} is no file; name a picture to ask the model"
    if given.local and (elsewhere := [step for step in steps if step in NOT_LOCAL]):
        return f"--local: local mode knows no {', '.join(elsewhere)}; leave it out, or run it on SageMaker"
    if given.local and given.keep:
        return "--keep: a local endpoint ends with the script; docker run serves the model for longer"
    if not given.local and not given.role:
        return "--role: give the ARN of the role that SageMaker is to take"
    if not _NAME.fullmatch(given.name):
        return f"--name: {given.name!r} has to be letters, digits and single hyphens, 15 at the most"
    return None


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("words", nargs="*", metavar="STEP | NAME=VALUE", help="steps, and hyperparameters")
    option("--local", action="store_true", help="run on this machine, in local mode")
    option("--image", default="byoc-vision:latest", help="as `make push` named it (%(default)s)")
    option("--role", default=os.environ.get("SAGEMAKER_ROLE"), help="its ARN ($SAGEMAKER_ROLE)")
    option("--bucket", help="for pictures and models (the SDK's own)")
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
