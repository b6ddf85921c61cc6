"""A recipe: a file of hyperparameters, or the defaults of a task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import Hyperparameters, aliases, parse, read_raw
from byoc_vision.hyperparameters.builtin import translate
from byoc_vision.hyperparameters.reading import is_foreign
from byoc_vision.models.names import task_of
from byoc_vision.sagemaker_values import decode
from byoc_vision.types import Task

FILE = "hyperparameters.json"


@dataclass(frozen=True)
class Recipe:
    """given: the hyperparameters as SageMaker takes them, every value a string. hyperparameters: the same, parsed."""

    task: Task
    given: Mapping[str, str]
    hyperparameters: Hyperparameters

    def without(self, fields: set[str]) -> dict[str, str]:
        """The given hyperparameters of all other fields, under any of their names."""
        return {name: value for name, value in self.given.items() if _field(name, value) not in fields}


def read_recipe(source: str | Path) -> Recipe:
    """The recipe in a hyperparameters.json, in its folder, or by a task's name: the task's defaults.

    Raises InputError if there is none, if a hyperparameter is wrong, and if the task is unknown.
    """
    if str(source) in get_args(Task):
        return recipe_of({"task": str(source)})
    path = Path(source)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        tasks = " or ".join(get_args(Task))
        raise InputError(f"{source} is not a recipe: there is no file {file}; name a {FILE}, its folder, or {tasks}")
    return recipe_of(read_raw(file), str(file))


def recipe_of(raw: Mapping[str, Any], title: str = "the recipe") -> Recipe:
    """The recipe of hyperparameters in any client's spelling; what clients add for themselves is left out.

    Raises InputError as `read_recipe`; it names the `title`.
    """
    hyperparameters = parse(raw)
    given = {name: _text(value) for name, value in raw.items() if not is_foreign(name)}
    return Recipe(_task(hyperparameters, title), given, hyperparameters)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _field(name: str, value: str) -> str:
    """The field of a name, including a built-in algorithm's names."""
    with suppress(ValueError):  # of an empty value, which means the default
        name, _ = translate(name, decode(value))
    return aliases().get(name, name)


def _task(hyperparameters: Hyperparameters, title: str) -> Task:
    """The recipe's task, or its model's."""
    if hyperparameters.task != "auto":
        return hyperparameters.task
    if hyperparameters.encoder is not None:
        return "segmentation"
    if hyperparameters.model == "auto":
        raise InputError(f'task: {title} does not give it; add "task": "segmentation" or "task": "classification"')
    try:
        return task_of(hyperparameters.model)
    except ModuleNotFoundError:  # only timm knows all classifiers, and clients may lack it
        return "classification"
