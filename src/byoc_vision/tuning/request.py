"""The request for a search: a recipe, the data, the objective, and the ranges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from byoc_vision import hyperparameters as hp
from byoc_vision.data.formats.channels import channels_in
from byoc_vision.data.preflight import find_and_check, job_budget, log_or_raise
from byoc_vision.data.samples import Dataset
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.recipe import FILE, Recipe, read_recipe, recipe_of
from byoc_vision.describe.space import Categorical, SearchSpace
from byoc_vision.recipe import resolve_config
from byoc_vision.types import Task


@dataclass(frozen=True)
class Request:
    """A valid search: its recipe and its data were read and fit each other.

    own: the recipe's own values, if they are in the ranges.
    """

    recipe: Recipe
    space: SearchSpace
    own: Mapping[str, float | int | str]
    channels: Mapping[str, Path]
    data: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for trials to be comparable, as JSON: kind of difference → value."""
        identity = {
            "metric": self.space.objective.metric,
            "ranges": {found.name: {**asdict(found), "kind": type(found).__name__} for found in self.space.ranges},
            "other hyperparameters": dict(self.space.fixed),
            "data": dict(self.data),
        }
        return dict(json.loads(json.dumps(identity)))


def read_request(recipe: str, data: Path, metric: str | None = None, keep: Collection[str] = ()) -> Request:
    """Read the recipe, check the images as a job does before it trains, and choose the ranges.

    recipe, metric, keep: as `describe.ranges.search_space` takes them; without a task the data decide it.
    Raises InputError and DataError that name every error in either.
    """
    given = _given(recipe)
    hyperparameters = hp.parse(given)
    channels = {name: path.absolute() for name, path in channels_in(data).items()}
    options = replace(resolve_config.data_options(hyperparameters), checking_budget=job_budget())
    checked = find_and_check(channels, options)
    log_or_raise(checked.report)
    read = _with_data(recipe_of({**given, "task": checked.dataset.task}, recipe), checked.dataset)
    space = search_space(read, metric, keep)
    return Request(read, space, own_values(read, space), channels, _identify(checked.dataset))


def own_values(recipe: Recipe, space: SearchSpace) -> dict[str, float | int | str]:
    """The recipe's values of the hyperparameters that vary, except those outside their ranges."""
    own: dict[str, float | int | str] = {}
    for found in space.ranges:
        if isinstance(found, Categorical):
            own[found.name] = found.values[0]
            continue
        value = getattr(recipe.hyperparameters, found.name)
        if value is None:  # the network's own dropout: none at all in most networks
            own[found.name] = found.low
        elif found.low <= value <= found.high:
            own[found.name] = value
    return own


def _given(recipe: str) -> dict[str, Any]:
    """The hyperparameters as they are given, in any spelling."""
    if recipe in get_args(Task):
        return {"task": recipe}
    path = Path(recipe)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        read_recipe(recipe)  # raises with the remedy
    return hp.read_raw(file)


def _with_data(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe completed from the data; what the recipe gives stays as it is."""
    found = {"multi_label": dataset.multi_label, "num_classes": len(dataset.classes)}
    return replace(recipe, hyperparameters=recipe.hyperparameters.model_copy(update=found))


def _identify(dataset: Dataset) -> dict[str, Any]:
    """What identifies the data: the number of images, their classes, and a digest of their names."""
    digest = hashlib.blake2b(digest_size=8)
    for split, samples in dataset.splits.items():
        for name in sorted(f"{split}/{sample.image.name}" for sample in samples):
            digest.update(name.encode(errors="surrogateescape") + b"\0")
    counts = {split: len(samples) for split, samples in dataset.splits.items()}
    return {"pictures": counts, "classes": list(dataset.class_names), "digest": digest.hexdigest()}
