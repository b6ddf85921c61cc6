"""The record of a run, as metrics.json holds it: what runs, on what, how to run it again, and what came of it.

Its metrics by name, as TensorBoard and MLflow show them, are at the end.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from byoc_vision import __version__
from byoc_vision.evaluation.epoch_record import Metrics, shortened
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.job import JOB_NAME
from byoc_vision.recipe.auto_recipe import Choice
from byoc_vision.report.record import Epoch, Evaluation, Floor, RecipeChoice, Record, Run, State, Times
from byoc_vision.system.gpus import find_gpus
from byoc_vision.system.machine import available_cores
from byoc_vision.training.callbacks.health import Health
from byoc_vision.training.callbacks.profiler import StepProfiler
from byoc_vision.training.callbacks.step_timer import StepTimer
from byoc_vision.training.callbacks.system_metrics import SystemMetrics
from byoc_vision.training.history import History
from byoc_vision.training.initial_weights import FirstWeights
from byoc_vision.training.parts import Network, Setup

REVISION = "BYOC_REVISION"  # the variable with the git commit that the image was built from

MOST_METRICS = 200  # curves, all of which a server takes in each epoch

_PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "albumentations", "opencv-python-headless")


@dataclass
class RunRecord:
    """Everything that is known of a run so far. Every process has one; some of it only the main process knows.

    metadata: what is known before the run. gpus: that the job's processes compute on.
    test: the best model's metrics. evaluations: the best model's, by split.
    """

    metadata: Record
    history: History
    health: Health
    timer: StepTimer
    system_metrics: SystemMetrics | None = None
    profiler: StepProfiler | None = None
    gpus: int = 0
    clock: Callable[[], float] = time.monotonic
    started: float | None = None  # when the job was, by the clock; None stands for now
    test: Metrics | None = None
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    budget: Callable[[], dict[str, Any]] | None = None  # what a job with one knows of its length so far

    def __post_init__(self) -> None:
        if self.started is None:
            self.started = self.clock()

    def __call__(self, state: State = "running", reason: str | None = None) -> Record:
        best = self.history.best
        seconds = self.clock() - (self.started or 0.0)
        return self.metadata.model_copy(
            update={
                "state": state,
                "reason": reason,
                "floor": Floor(**asdict(self.history.floor)) if self.history.floor else None,
                "best_epoch": best.epoch if best else None,
                "soup": list(self.history.soup),
                "validation": best.validation if best else {},
                "unvalidated_classes": self._unvalidated_classes(),
                "test": self.test,
                "seconds": round(seconds, 1),
                "gpu_seconds": round(seconds * self.gpus, 1),
                "epochs": [Epoch(**asdict(record)) for record in self.history.records],
                "findings": [*self.metadata.findings, *self.health.monitor.findings],
                "evaluations": list(self.evaluations.values()),
                "times": self.times(),
                **(self.budget() if self.budget else {}),
            }
        )

    def _unvalidated_classes(self) -> list[str]:
        """Known when validation images were evaluated in this start of the job."""
        evaluated = self.evaluations.get("validation")
        return [entry.name for entry in evaluated.classes if not entry.support] if evaluated else []

    def times(self) -> Times:
        """Of this start of the job, in this process."""
        system = self.system_metrics
        return Times(
            steps=self.timer.steps,
            total=self.timer.total,
            slowest=self.timer.slowest,
            readings=system.readings if system else [],
            memory_limit=system.memory_limit if system else None,
            gpu_memory_limit=system.gpu_memory_limit if system else None,
            profile=self.profiler.profile if self.profiler else None,
        )


def run_metadata(
    setup: Setup,
    hyperparameters: Hyperparameters,
    given: frozenset[str],
    choices: Sequence[Choice],
    network: Network,
    objective: Objective,
    weights: FirstWeights,
) -> Record:
    """The record of a job that is about to train.

    given: the hyperparameters that the user chose; choices: the recipe's. weights: before training.
    """
    values, precision, dataset = hyperparameters.model_dump(mode="json"), network.precision.name, setup.samples
    chosen = {name: values[name] for name in sorted(given)}
    # On a CPU `auto` is measured, which another run of the same job may find otherwise.
    is_measured = hyperparameters.precision == "auto" and setup.device.type == "cpu"
    exact = {"precision": precision} if is_measured else {}
    run = Run(
        hyperparameters=values,
        given=list(chosen),
        choices=[RecipeChoice(**choice._asdict()) for choice in choices],
        versions={"python": platform.python_version(), "byoc-vision": __version__, **_versions()},
        hardware=f"{find_gpus()}; {available_cores()} CPU core(s)",
        device=str(setup.device),
        precision=precision,
        hosts=len(setup.job.hosts),
        processes=setup.world.size,
        seed=hyperparameters.seed,
        revision=os.environ.get(REVISION) or None,
        model="/".join(filter(None, (network.config.model.architecture, network.config.model.encoder))),
        weights=weights.text,
        parameters=sum(parameter.numel() for parameter in network.net.parameters()),
        command=_command(chosen | exact | {"seed": hyperparameters.seed}),
    )
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
        findings=weights.findings,
        run=run,
    )


def _versions() -> dict[str, str]:
    return {name: found for name in _PACKAGES if (found := _version(name))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _command(chosen: dict[str, Any]) -> str:
    """For a shell, beside a folder `job/` whose input/data/ holds the channels."""
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


def epoch_metrics(epoch: Epoch) -> dict[str, float]:
    """Of one epoch, without those that are not a number; with very many classes without those of single classes."""
    metrics = {
        "train/loss": epoch.train_loss,
        "learning_rate": epoch.learning_rate,
        "speed/images_per_second": epoch.images_per_second,
        "speed/data_wait": epoch.data_wait,
        "speed/epoch_seconds": epoch.seconds,
    }
    return _numbers(metrics | {f"validation/{name}": value for name, value in epoch.validation.items()})


def final_metrics(record: Record) -> dict[str, float]:
    """Of the best epoch, and of the `test` images if there are any."""
    metrics = {f"best/{name}": value for name, value in record.validation.items()}
    metrics |= {f"test/{name}": value for name, value in (record.test or {}).items()}
    return _numbers(metrics)


def parameters(record: Record) -> dict[str, str]:
    """All hyperparameters as text, also the defaults; `-` stands for none."""
    return {name: _shown(value) for name, value in record.run.hyperparameters.items()}


def _shown(value: Any) -> str:
    if value is None or value in ([], ()):
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _numbers(metrics: dict[str, float | None]) -> dict[str, float]:
    kept = shortened(metrics, MOST_METRICS)
    return {name: value for name, value in kept.items() if value is not None and math.isfinite(value)}
