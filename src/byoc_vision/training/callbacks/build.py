"""Which callbacks a job has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.cache import ImageCache
from byoc_vision.data.loaders import TrainingLoader
from byoc_vision.data.preflight.report import PreflightReport
from byoc_vision.health.facts import DataFacts
from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.hyperparameters.health import HealthSettings, read_settings
from byoc_vision.launch.distributed import World
from byoc_vision.launch.job_time import max_runtime
from byoc_vision.paths import MlPaths
from byoc_vision.precision import Precision
from byoc_vision.report.record import Record
from byoc_vision.training.batch_layout import BatchLayout, Length
from byoc_vision.training.callbacks.base import Callback, Callbacks
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


class Parts(NamedTuple):
    """What callbacks look at. model: takes uint8 images, and does not average its gradients; net: within it."""

    config: ModelConfig
    net: nn.Module
    model: nn.Module
    optimizer: Optimizer
    precision: Precision
    scaler: torch.amp.GradScaler
    device: torch.device
    loader: TrainingLoader
    layout: BatchLayout
    length: Length
    history: History
    cache: ImageCache | None


class Built(NamedTuple):
    """The callbacks, those of them that the trainer asks, and the record that they get."""

    callbacks: Callbacks
    timer: StepTimer
    health: Health
    run: RunRecord


def build_callbacks(
    paths: MlPaths,
    hyperparameters: Hyperparameters,
    world: World,
    parts: Parts,
    metadata: Record,
    report: PreflightReport | None = None,
    started: float | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Built:
    """In the main process all that the job asks for, in the others the step timer.

    report: of the check of the data. started: when the job was, in seconds of `time.monotonic`.
    """
    timer = StepTimer(parts.device)
    settings = read_settings(hyperparameters.health_action, hyperparameters.health_thresholds)
    monitor = HealthMonitor(settings if world.is_main else HealthSettings("none"))
    data = data_facts(hyperparameters, report) if report else None
    health = Health(monitor, hyperparameters, parts.history, timer, parts.loader, parts.cache, data, parts.length)
    gpus = world.size if parts.device.type == "cuda" else 0
    if not world.is_main:
        run = RunRecord(metadata, parts.history, health, timer, gpus=gpus, started=started)
        return Built(Callbacks([timer, health]), timer, health, run)
    system, profiler = SystemMetrics(parts.device), build_profiler(paths, hyperparameters, parts)
    run = RunRecord(metadata, parts.history, health, timer, system, profiler, gpus, started=started)
    # The profiler is first: what it does between two steps is then part of neither. The report is written before
    # MLflow uploads it.
    callbacks: list[Callback] = [profiler] if profiler else []
    progress = build_progress(paths, hyperparameters, world, parts, metadata, system, environment)
    callbacks += [timer, system, TimeToFirstStep(parts.device), progress, health]
    if not monitor.is_idle:
        callbacks.append(build_step_watch(monitor, parts))
    images = parts.loader.dataset
    callbacks.append(RunReport(paths.output_data, parts.config.classes, images, page=hyperparameters.report))
    callbacks += build_trackers(paths, hyperparameters, parts, environment)
    return Built(Callbacks(callbacks), timer, health, run)


def build_profiler(paths: MlPaths, hyperparameters: Hyperparameters, parts: Parts) -> StepProfiler | None:
    if not (steps := hyperparameters.profile_steps):
        return None
    return StepProfiler(steps, paths.output_data, parts.device, parts.layout.steps_per_epoch)


def build_progress(
    paths: MlPaths,
    hyperparameters: Hyperparameters,
    world: World,
    parts: Parts,
    metadata: Record,
    system: SystemMetrics,
    environment: Mapping[str, str],
) -> TrainingProgress:
    cache = parts.cache
    work = Work(
        parts.length,
        metadata.images.get("validation", 0),
        metadata.images.get("test", 0),
        world.size,
        stops_early=hyperparameters.early_stopping,
    )
    return TrainingProgress(
        parts.device,
        work,
        rate=lambda: float(parts.optimizer.param_groups[0]["lr"]),
        reading=lambda: system.readings[-1] if system.readings else None,
        gpu_memory_limit=lambda: system.gpu_memory_limit,
        cached=lambda: cache.store.used if cache else None,
        max_runtime=max_runtime(paths.training_job_config, environment),
    )


def build_step_watch(monitor: HealthMonitor, parts: Parts) -> StepWatch:
    rule = parts.config.preprocess
    return StepWatch(
        monitor,
        parts.model,
        parts.net,
        parts.optimizer,
        parts.device,
        parts.precision.autocast,
        mean=rule.mean,
        std=rule.std,
        scaled=parts.scaler.is_enabled(),
    )


def build_trackers(
    paths: MlPaths, hyperparameters: Hyperparameters, parts: Parts, environment: Mapping[str, str]
) -> list[Callback]:
    """TensorBoard, and MLflow if its server is named."""
    trackers: list[Callback] = []
    if hyperparameters.tensorboard:
        trackers.append(
            TensorBoard(
                paths.tensorboard,
                paths.output_data,
                steps_per_epoch=parts.layout.steps_per_epoch,
                device=parts.device,
                histograms=parts.net if hyperparameters.tensorboard_histograms else None,
            )
        )
    if uri := environment.get(URI_VARIABLE):
        continues = hyperparameters.checkpoint_keep and hyperparameters.resume == "auto"
        checkpoints = paths.checkpoints if continues else None
        trackers.append(Mlflow(uri, checkpoints, paths.model, paths.output_data, environment))
    return trackers


def data_facts(hyperparameters: Hyperparameters, report: PreflightReport) -> DataFacts:
    amounts = {entry.name: float(entry.pixel_share or entry.in_training) for entry in report.classes}
    balanced = hyperparameters.class_weights != "none" or hyperparameters.sampling != "natural"
    return DataFacts(report.task, amounts, balanced)
