"""Whether a checkpoint goes with this job: what must be the same, and what may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError, list_problems
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.training.checkpoint_file import START_ANEW
from byoc_vision.types import ClassInfo


def check_fits(content: Mapping[str, Any], config: ModelConfig) -> None:
    """Raises InputError that names each difference where the checkpoint is of another model or other classes."""
    saved = ModelConfig.model_validate(content["card"])
    differences = []
    for name, was in saved.model.model_dump().items():
        now = getattr(config.model, name)
        if was != now:
            differences.append(f"{name}: {_shown(was)} in the checkpoint, {_shown(now)} in this job")
    if saved.classes != config.classes:
        differences.append(
            f"classes: {_listed(saved.classes)} in the checkpoint, {_listed(config.classes)} in this job's data"
        )
    for name in ("mean", "std"):
        was, now = getattr(saved.preprocess, name), getattr(config.preprocess, name)
        if was != now:
            differences.append(f"the images' {name}: {was} in the checkpoint, {now} in this job (`pretrained` sets it)")
    if saved.activation != config.activation:
        differences.append(f"activation: {saved.activation} in the checkpoint, {config.activation} in this job")
    if differences:
        headline = f"the checkpoint is of another model. Go on with the same settings and classes, {START_ANEW}:"
        raise InputError(list_problems(headline, differences))


def changed(content: Mapping[str, Any], hyperparameters: Hyperparameters, processes: int) -> list[str]:
    """What this job does otherwise than the one that wrote the checkpoint, a line each."""
    saved, now = content["hyperparameters"], hyperparameters.model_dump(mode="json")
    lines = [
        f"{name}: {_shown(saved[name])} → {_shown(value)}"
        for name, value in now.items()
        if name in saved and saved[name] != value
    ]
    if content["grid"]["processes"] != processes:
        lines.append(f"processes: {content['grid']['processes']} → {processes}")
    return lines


def _shown(value: Any) -> str:
    return "none" if value in (None, [], ()) else str(value)


def _listed(classes: tuple[ClassInfo, ...], most: int = 12) -> str:
    names = [entry.name + ("" if entry.value is None else f" ({entry.value})") for entry in classes]
    return ", ".join(names[:most]) + (f", … {len(names)} in all" if len(names) > most else "")
