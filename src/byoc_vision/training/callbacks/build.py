"""Which callbacks a job has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from byoc_vision.data.preflight.report import PreflightReport
from byoc_vision.health.facts import DataFacts
from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.hyperparameters.health import HealthSettings, read_settings
from byoc_vision.launch.distributed import unwrap
from byoc_vision.launch.job_time import max_runtime
from byoc_vision.report.record import Record
from byoc_vision.training.callback import Callback, Callbacks
from byoc_vision.training.callbacks.health import Health
from byoc_vision.training.callbacks.mlflow import URI_VARIABLE, Mlflow
from byoc_vision.training.callbacks.profiler import StepProfiler
from byoc_vision.training.callbacks.progress import TimeToFirstStep, TrainingProgress, Work
from byoc_vision.training.callbacks.run_record import RunRecord
from byoc_vision.training.callbacks.run_report import RunReport
from byoc_vision.training.callbacks.step_timer import StepTimer
from byoc_vision.training.callbacks.step_watch import StepWatch
from byoc_vision.training.callbacks.system_metrics import SystemMetrics
from byoc_vision.training.callbacks.tensorboard import TensorBoard
from byoc_vision.training.history import History
from byoc_vision.training.parts import Data, Network, Setup
from byoc_vision.training.step import Step


class Built(NamedTuple):
    """The callbacks, those of them that the trainer asks, and the record that they get."""

    callbacks: Callbacks
    timer: StepTimer
    health: Health
    run: RunRecord


def build_callbacks(
    setup: Setup,
    hyperparameters: Hyperparameters,
    network: Network,
    data: Data,
    step: Step,
    history: History,
    metadata: Record,
    started: float | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Built:
    """In the main process all that the job asks for, in the others the step timer.

    started: when the job was, in seconds of `time.monotonic`.
    """
    paths, world = setup.job.paths, setup.world
    timer = StepTimer(step.device)
    settings = read_settings(hyperparameters.health_action, hyperparameters.health_thresholds)
    monitor = HealthMonitor(settings if world.is_main else HealthSettings("none"))
    facts = data_facts(hyperparameters, setup.report) if setup.report else None
    health = Health(monitor, hyperparameters, history, timer, data.loader, data.cache, facts, data.length)
    gpus = world.size if step.device.type == "cuda" else 0
    if not world.is_main:
        run = RunRecord(metadata, history, health, timer, gpus=gpus, started=started)
        return Built(Callbacks([timer, health]), timer, health, run)
    steps_per_epoch = data.layout.steps_per_epoch
    system, profiler = SystemMetrics(step.device), None
    if hyperparameters.profile_steps:
        profiler = StepProfiler(hyperparameters.profile_steps, paths.output_data, step.device, steps_per_epoch)
    run = RunRecord(metadata, history, health, timer, system, profiler, gpus, started=started)
    # The profiler is first: what it does between two steps is then part of neither. The report is written before
    # MLflow uploads it.
    callbacks: list[Callback] = [profiler] if profiler else []
    progress = build_progress(setup, hyperparameters, data, step, metadata, system, environment)
    callbacks += [timer, system, TimeToFirstStep(step.device), progress, health]
    if not monitor.is_idle:
        rule = network.config.preprocess
        callbacks.append(
            StepWatch(
                monitor,
                unwrap(step.model),
                network.net,
                step.optimizer,
                step.device,
                step.precision.autocast,
                mean=rule.mean,
                std=rule.std,
                scaled=step.scaler.is_enabled(),
            )
        )
    classes, images = network.config.classes, data.loader.dataset
    callbacks.append(RunReport(paths.output_data, classes, images, page=hyperparameters.report))
    if hyperparameters.tensorboard:
        histograms = network.net if hyperparameters.tensorboard_histograms else None
        folders = paths.tensorboard, paths.output_data
        callbacks.append(
            TensorBoard(*folders, steps_per_epoch=steps_per_epoch, device=step.device, histograms=histograms)
        )
    if uri := environment.get(URI_VARIABLE):
        continues = hyperparameters.checkpoint_keep and hyperparameters.resume == "auto"
        checkpoints = paths.checkpoints if continues else None
        callbacks.append(Mlflow(uri, checkpoints, paths.model, paths.output_data, environment))
    return Built(Callbacks(callbacks), timer, health, run)


def build_progress(
    setup: Setup,
    hyperparameters: Hyperparameters,
    data: Data,
    step: Step,
    metadata: Record,
    system: SystemMetrics,
    environment: Mapping[str, str],
) -> TrainingProgress:
    cache = data.cache
    work = Work(
        data.length,
        metadata.images.get("validation", 0),
        metadata.images.get("test", 0),
        setup.world.size,
        stops_early=hyperparameters.early_stopping,
    )
    return TrainingProgress(
        step.device,
        work,
        rate=lambda: float(step.optimizer.param_groups[0]["lr"]),
        reading=lambda: system.readings[-1] if system.readings else None,
        gpu_memory_limit=lambda: system.gpu_memory_limit,
        cached=lambda: cache.store.used if cache else None,
        max_runtime=max_runtime(setup.job.paths.training_job_config, environment),
    )


def data_facts(hyperparameters: Hyperparameters, report: PreflightReport) -> DataFacts:
    amounts = {entry.name: float(entry.pixel_share or entry.in_training) for entry in report.classes}
    balanced = hyperparameters.class_weights != "none" or hyperparameters.sampling != "natural"
    return DataFacts(report.task, amounts, balanced)
