"""The recipes under examples/, laid out as jobs on the real images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.jobs import write_hyperparameters

from byoc_vision.health import learning_rules, tensor_rules
from byoc_vision.paths import MlPaths

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def lay_out(root: Path, channels: Mapping[str, Path], recipe: str, changes: Mapping[str, str] | None = None) -> MlPaths:
    """A job below `root` with the hyperparameters of a recipe, but for `changes`; its channels are links."""
    paths = MlPaths(root)
    paths.channels.mkdir(parents=True)
    for name, source in channels.items():
        paths.channel(name).symlink_to(source)
    write_hyperparameters(paths, hyperparameters_of(recipe) | dict(changes or {}))
    return paths


def recipes() -> list[str]:
    return sorted(folder.name for folder in EXAMPLES.iterdir() if (folder / "hyperparameters.json").is_file())


def hyperparameters_of(recipe: str) -> dict[str, str]:
    content: dict[str, str] = json.loads((EXAMPLES / recipe / "hyperparameters.json").read_text(encoding="utf-8"))
    return content


def weights(folder: Path, name: str, target: Path) -> Path:
    """A `pretrained` channel with one file."""
    target.mkdir()
    (target / name).symlink_to(folder / "weights" / name)
    return target


def faults(results: dict[str, Any]) -> list[str]:
    """What health rules found wrong with the network, its learning or its data; not what they say of the machine."""
    rules = {*tensor_rules.RULES, *learning_rules.RULES} - {
        learning_rules.StalledTraining,
        learning_rules.MaxInitializationTime,
        learning_rules.StepOutlier,
    }
    judging = {rule.__name__ for rule in rules}
    return [finding["rule"] for finding in results["findings"] if finding["rule"] in judging]
