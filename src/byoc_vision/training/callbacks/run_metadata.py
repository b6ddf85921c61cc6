"""What a job says about itself before it has trained: what runs, on what, and how to run it again."""

from __future__ import annotations

import json
import os
import platform
import shlex
from importlib import metadata
from typing import Any

from byoc_vision import __version__
from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.job import Job
from byoc_vision.report.record import Record, Run
from byoc_vision.system.gpus import find_gpus
from byoc_vision.system.machine import available_cores
from byoc_vision.training.resolve_config import Objective
from byoc_vision.training.trainer import Trainer

REVISION = "BYOC_REVISION"  # the variable with the git commit that the image was built from
JOB_NAME = "TRAINING_JOB_NAME"  # set by SageMaker

_PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "albumentations", "opencv-python-headless")


def first_record(
    job: Job,
    hyperparameters: Hyperparameters,
    given: frozenset[str],
    dataset: Dataset,
    objective: Objective,
    trainer: Trainer,
) -> Record:
    """The record of a job that is about to train.

    given: the hyperparameters that its user chose.
    """
    return Record(
        package_version=__version__,
        task=dataset.task,
        multi_label=dataset.multi_label,
        name=os.environ.get(JOB_NAME, ""),
        classes=list(dataset.classes),
        images={name: len(samples) for name, samples in dataset.splits.items()},
        objective=f"validation:{objective.name}",
        objective_mode=objective.mode,
        planned_epochs=hyperparameters.epochs,
        run=_run(job, hyperparameters, given, trainer),
    )


def _run(job: Job, hyperparameters: Hyperparameters, given: frozenset[str], trainer: Trainer) -> Run:
    values = hyperparameters.model_dump(mode="json")
    chosen = {name: values[name] for name in sorted(given)}
    spec, step = trainer.config.model, trainer.step
    return Run(
        hyperparameters=values,
        given=list(chosen),
        versions={"python": platform.python_version(), "byoc-vision": __version__, **_versions()},
        hardware=f"{find_gpus()}; {available_cores()} CPU core(s)",
        device=str(step.device),
        precision=step.precision.name,
        hosts=len(job.hosts),
        processes=trainer.world.size,
        seed=hyperparameters.seed,
        revision=os.environ.get(REVISION) or None,
        model="/".join(filter(None, (spec.architecture, spec.encoder))),
        parameters=sum(parameter.numel() for parameter in trainer.net.parameters()),
        command=_command(chosen | {"seed": hyperparameters.seed}),
    )


def _versions() -> dict[str, str]:
    return {name: found for name in _PACKAGES if (found := _version(name))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _command(chosen: dict[str, Any]) -> str:
    """For a shell, beside a folder `job/` whose input/data/ has the channels."""
    text = json.dumps({name: _as_text(value) for name, value in chosen.items()})
    tag = "-".join(filter(None, (__version__, os.environ.get(REVISION))))
    return (
        "mkdir -p job/input/config\n"
        f"printf '%s' {shlex.quote(text)} > job/input/config/hyperparameters.json\n"
        f'docker run --rm --gpus all --shm-size 8g --volume "$PWD/job:/opt/ml" byoc-vision:{tag} train\n'
    )


def _as_text(value: Any) -> str:
    """As SageMaker hands hyperparameters over: every value is a string."""
    return value if isinstance(value, str) else json.dumps(value)
