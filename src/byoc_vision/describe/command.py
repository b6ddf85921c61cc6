"""`byoc-vision describe …`: hyperparameters, metrics and instance types, for people and for programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from byoc_vision.errors import InputError

# Commands import what they need when they run: metrics and ranges need neither torch nor OpenCV.

TASKS = ("segmentation", "classification")


def add_describe(commands: Any) -> None:
    """Add the command and its subcommands."""
    command = commands.add_parser(
        "describe", help="describe hyperparameters, metrics and instance types for each SageMaker client"
    )
    below = command.add_subparsers(title="what to describe", required=True, metavar="WHAT")
    _add_metrics(below)
    _add_ranges(below)
    _add_hyperparameters(below)
    _add_instances(below)


def add_hyperparameters(commands: Any) -> None:
    """The older name of `describe hyperparameters`."""
    command = commands.add_parser("hyperparameters", help="as `describe hyperparameters --form table`")
    command.set_defaults(run=hyperparameters, form="table")


def metrics(options: argparse.Namespace) -> int:
    from byoc_vision.describe.metrics import metric_definitions
    from byoc_vision.describe.tuning import as_metrics

    definitions = metric_definitions(options.task, top_k=options.top_k, classes=options.classes)
    return _print(as_metrics(definitions, options.form))


def ranges(options: argparse.Namespace) -> int:
    from byoc_vision.describe import tuning
    from byoc_vision.describe.metrics import metric_definitions
    from byoc_vision.describe.ranges import search_space
    from byoc_vision.describe.recipe import read_recipe

    recipe = read_recipe(options.recipe)
    space = search_space(recipe, options.metric, options.keep)
    definitions = metric_definitions(recipe.task, top_k=recipe.hyperparameters.top_k)
    match options.form:
        case "table":
            return _print(tuning.as_table(space))
        case "boto3":
            return _print(tuning.as_request(space, definitions))
        case "v2" | "v3":
            return _print(tuning.as_program(space, definitions, options.form))
    return _print(tuning.as_json(space))


def hyperparameters(options: argparse.Namespace) -> int:
    if options.form == "table":
        from byoc_vision.hyperparameters.table import hyperparameters_table

        return _print(hyperparameters_table())
    if options.form == "create-algorithm":
        from byoc_vision.describe.algorithm import create_algorithm_request

        if not options.image:
            raise InputError(
                "--image is missing; name the algorithm's image, as ACCOUNT.dkr.ecr.REGION.amazonaws.com/…"
            )
        return _print(create_algorithm_request(options.image))
    from byoc_vision.describe.schema import hyperparameters_schema

    return _print(hyperparameters_schema())


def instances(options: argparse.Namespace) -> int:
    from byoc_vision.describe import instances as found
    from byoc_vision.hyperparameters import parse
    from byoc_vision.models.names import canonical_spec, task_of
    from byoc_vision.types import ModelSpec

    job = parse({"model": options.model, "image_size": options.image_size, "batch_size": options.batch_size})
    assert job.image_size is not None, "it is required"
    task = "segmentation" if options.encoder else task_of(options.model)
    outputs = 1 if task == "segmentation" and options.classes == 2 else options.classes
    spec = canonical_spec(ModelSpec(task=task, architecture=options.model, encoder=options.encoder, outputs=outputs))
    workload = found.Workload(spec, job.image_size, job.batch_size, options.use, options.precision, options.optimizer)
    advice = found.advise(workload)
    return _print(found.as_table(advice) if options.format == "table" else found.as_json(advice))


def _print(content: Any) -> int:
    text = content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)
    sys.stdout.write(text + "\n")
    return 0


def _add_metrics(commands: Any) -> None:
    command = commands.add_parser("metrics", help="the definitions of all metrics that epochs log")
    command.add_argument("--task", choices=TASKS, help="default: both")
    command.add_argument("--form", choices=("boto3", "v2", "v3"), default="boto3", help="the client (default: boto3)")
    command.add_argument("--top-k", type=int, metavar="K", help="as the hyperparameter top_k")
    command.add_argument(
        "--classes", type=_names, default=(), metavar="NAME,NAME", help="also the metrics of these classes"
    )
    command.set_defaults(run=metrics)


def _add_ranges(commands: Any) -> None:
    command = commands.add_parser("ranges", help="the ranges and the objective of a search around a recipe")
    command.add_argument(
        "--recipe",
        default="segmentation",
        help="hyperparameters.json, its folder, segmentation or classification (default: segmentation)",
    )
    command.add_argument("--form", choices=("json", "table", "boto3", "v2", "v3"), default="json")
    command.add_argument("--metric", metavar="NAME", help="as validation:f1 (default: the recipe's, or its task's)")
    command.add_argument("--keep", type=_names, default=(), metavar="NAME,NAME", help="hyperparameters that stay fixed")
    command.set_defaults(run=ranges)


def _add_hyperparameters(commands: Any) -> None:
    command = commands.add_parser("hyperparameters", help="their JSON Schema, their table, or a SageMaker algorithm")
    command.add_argument("--form", choices=("schema", "table", "create-algorithm"), default="schema")
    command.add_argument("--image", metavar="URI", help="the algorithm's image in ECR")
    command.set_defaults(run=hyperparameters)


def _add_instances(commands: Any) -> None:
    command = commands.add_parser(
        "instances", help="the memory that a model and a batch need, and the instance types that have it"
    )
    command.add_argument("--model", required=True, metavar="NAME", help="as the hyperparameter")
    command.add_argument("--encoder", metavar="NAME")
    command.add_argument("--image-size", required=True, metavar="SIZE", help="as 256, or 192,256: height, width")
    command.add_argument("--batch-size", required=True, metavar="COUNT", help="images per GPU")
    command.add_argument("--classes", type=int, default=2, metavar="COUNT", help="default: 2")
    command.add_argument("--for", dest="use", choices=("train", "serve"), default="train")
    command.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    command.add_argument("--optimizer", default="adamw", metavar="NAME")
    command.add_argument("--format", choices=("json", "table"), default="json")
    command.set_defaults(run=instances)


def _names(text: str) -> Sequence[str]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
