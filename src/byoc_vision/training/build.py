"""From a job's hyperparameters and data to its trainer, whole: each part is made here, and put in its place."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from byoc_vision.data.preflight import CheckedDataset
from byoc_vision.data.samples import Dataset
from byoc_vision.errors import InputError
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.job import Job
from byoc_vision.launch.distributed import StopSync, World, on_rank0
from byoc_vision.launch.job_time import budget_seconds, job_clock
from byoc_vision.launch.signals import StopSignals
from byoc_vision.models.build import build_model
from byoc_vision.models.pretrained import PretrainedInfo
from byoc_vision.precision import choose_device
from byoc_vision.recipe import auto_recipe, resolve_config
from byoc_vision.recipe.linear_probe import LinearProbe
from byoc_vision.recipe.segmentation_recipe import Budgeted
from byoc_vision.training.auto_batch_size import with_fitting_batch_size
from byoc_vision.training.auto_precision import seconds_an_image
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.best_model import BestModel
from byoc_vision.training.budget import Budget, fitting_budget
from byoc_vision.training.budget_plan import Ending, Speed, measure_speed
from byoc_vision.training.callback import Callbacks
from byoc_vision.training.callbacks.build import build_callbacks
from byoc_vision.training.callbacks.run_record import RunRecord, run_metadata
from byoc_vision.training.checkpoint import Checkpointer
from byoc_vision.training.class_weights import find_class_weights
from byoc_vision.training.data_partition import DataPartition, find_data
from byoc_vision.training.history import EarlyStopping, History
from byoc_vision.training.initial_weights import find_first_weights, with_model_of_channel
from byoc_vision.training.optimizers import highest_learning_rate
from byoc_vision.training.parts import (
    Data,
    Network,
    Setup,
    build_data,
    build_network,
    build_step,
    learning_encoder,
    moving_parts,
)
from byoc_vision.training.quantization import check_int8
from byoc_vision.training.step import Step
from byoc_vision.training.trainer import Trainer
from byoc_vision.training.weight_average import Soup, WeightAverage
from byoc_vision.types import ModelSpec

logger = logging.getLogger(__name__)


def build_trainer(
    job: Job, hyperparameters: Hyperparameters, world: World, signals: StopSignals, found: Dataset | None = None
) -> Trainer:
    """Find and check the job's data, and build its trainer. Call it in all processes.

    found: the samples, if they were found before.

    Raises:
        UserError: what the user can fix, if it can be known before the first epoch.
    """
    started, given = time.monotonic(), frozenset(hyperparameters.model_fields_set)
    checkpointer = Checkpointer.of(job.paths, hyperparameters, world)
    checked, partition = find_data(job, hyperparameters, world, found)
    weights = find_class_weights(hyperparameters, checked, partition, world)
    seed_everything(hyperparameters.seed)
    hyperparameters = with_model_of_channel(hyperparameters, job, checked.dataset.task)
    hyperparameters = with_fitting_batch_size(
        hyperparameters, checked.dataset, world, class_weights=weights, checkpointer=checkpointer
    )
    trainer = assemble(
        job,
        hyperparameters,
        partition,
        world,
        checked=checked,
        class_weights=weights,
        checkpointer=checkpointer,
        signals=signals,
        given=given,
        started=started,
    )
    logger.info(describe(trainer))
    on_rank0(world, lambda: check_int8(hyperparameters, trainer.net, trainer.config))
    return trainer


def assemble(
    job: Job,
    hyperparameters: Hyperparameters,
    partition: DataPartition,
    world: World,
    *,
    checked: CheckedDataset | None = None,
    class_weights: Sequence[float] | None = None,
    checkpointer: Checkpointer | None = None,
    signals: StopSignals | None = None,
    given: frozenset[str] = frozenset(),
    started: float | None = None,
    clock: Callable[[], float] | None = None,
) -> Trainer:
    """A trainer for data that are found already.

    Args:
        checked: the samples of all hosts; by default those of the partition.
        class_weights: one for each class; None for equal ones.
        checkpointer: by default the trainer writes no checkpoints.
        signals: by default the trainer is not asked to stop.
        given: the hyperparameters that the user chose.
        started: when the job was, in seconds of `time.monotonic`.
        clock: seconds since the job's process started, for a budget.

    Raises:
        UserError: the model cannot be built, sized or filled with weights as the job asks.
    """
    setup = Setup(
        job,
        world,
        partition,
        checked.dataset if checked else partition.dataset,
        checked.report if checked else None,
        checkpointer or Checkpointer(None, world),
        choose_device(),
    )
    samples, dataset, share = setup.samples, partition.dataset, partition.shares["train"]
    resolve_config.check_task(hyperparameters, dataset.task)
    spec = resolve_config.model_spec(hyperparameters, dataset)
    net = build_model(spec)
    weights = find_first_weights(net, spec, dataset.classes, job, hyperparameters, world, setup.checkpointer)
    # What the job leaves open
    given = given or frozenset(hyperparameters.model_fields_set)
    seconds = budget_seconds(hyperparameters.budget, job.paths, world)
    if seconds is None:
        hyperparameters, given = hyperparameters.model_copy(update={"budget": None}), given - {"budget"}
    facts = auto_recipe.Facts.of(net, spec, dataset, share.size, weights.info, setup.report, setup.device)
    budgeted = None if seconds is None else budgeted_job(seconds, spec, weights.info, hyperparameters, setup)
    hyperparameters, choices = auto_recipe.choose(hyperparameters, facts, given, budgeted)
    if checked and any(choice.name == "class_weights" for choice in choices):
        class_weights = find_class_weights(hyperparameters, checked, partition, world)
    history = History(resolve_config.objective(hyperparameters, samples))
    # What learns
    network = build_network(net, spec, weights.info, class_weights, hyperparameters, setup)
    data = build_data(network, hyperparameters, setup)
    encoder = learning_encoder(network.net, hyperparameters)
    rate = highest_learning_rate(hyperparameters, world.size)
    step = build_step(network, encoder, rate, data, hyperparameters, setup)
    probe, budget = None, None
    if weights.info and hyperparameters.linear_probe:
        probe = LinearProbe.of(network.net, data.evaluator, dataset.train, share, network.loss, hyperparameters.seed)
    if seconds is not None:
        clock, probes = clock or job_clock(), probe is not None
        budget = build_budget(seconds, given, network, data, step, hyperparameters, setup, clock, probes=probes)
        hyperparameters, choices = budget.settings(hyperparameters, choices, given)
        # Measuring made steps with the others.
        step = replace(step, **moving_parts(network, encoder, rate, data.length, hyperparameters))
    hyperparameters = hyperparameters.model_copy(update={"epochs": data.length.epochs})
    check_frozen_epochs(hyperparameters, data.length)
    # What watches
    metadata = run_metadata(setup, hyperparameters, given, choices, network, history.objective, weights)
    callbacks, timer, health, run = build_callbacks(
        setup, hyperparameters, network, data, step, history, metadata, started
    )
    run.budget = budget.known if budget else None
    best = best_model(setup, hyperparameters, network, data, run, callbacks)
    return Trainer(
        hyperparameters=hyperparameters,
        world=world,
        config=network.config,
        net=network.net,
        step=replace(step, callbacks=callbacks),
        loader=data.loader,
        partition=partition,
        layout=data.layout,
        length=data.length,
        history=history,
        best=best,
        run=run,
        checkpointer=setup.checkpointer,
        signals=signals or StopSignals(),
        stop=StopSync(world, setup.device),
        callbacks=callbacks,
        timer=timer,
        health=health,
        early_stopping=early_stopping(hyperparameters, history.objective),
        encoder=encoder,
        cache=data.cache,
        first_weights=weights,
        average=best.average,
        probe=probe,
        budget=budget,
    )


def best_model(
    setup: Setup, hyperparameters: Hyperparameters, network: Network, data: Data, run: RunRecord, callbacks: Callbacks
) -> BestModel:
    at_end = [name for name in ("mask_threshold", "min_area") if getattr(hyperparameters, name) == "auto"]
    return BestModel(
        paths=setup.job.paths,
        config=network.config,
        net=network.net,
        world=setup.world,
        evaluator=data.evaluator,
        validation=data.validation,
        partition=setup.partition,
        seed=hyperparameters.seed,
        run=run,
        callbacks=callbacks,
        average=WeightAverage(network.net, hyperparameters.ema_decay) if hyperparameters.ema_decay else None,
        chosen_at_end=at_end,
        soup=Soup(hyperparameters.soup, run.history.objective) if hyperparameters.soup else None,
    )


def budgeted_job(
    seconds: float, spec: ModelSpec, pretrained: PretrainedInfo | None, hyperparameters: Hyperparameters, setup: Setup
) -> Budgeted:
    """What the recipe has to know of a job that has so many seconds."""
    content = setup.checkpointer.continued(hyperparameters)

    def measure(settings: Hyperparameters) -> float:
        rule = resolve_config.preprocess(settings, spec, pretrained, setup.partition.dataset.bands)
        config = resolve_config.model_config_of(setup.partition.dataset, spec, rule, settings)
        return seconds_an_image(settings, config, setup.device, setup.world)

    return Budgeted(seconds, measure, content["hyperparameters"] if content else None)


def build_budget(
    seconds: float,
    given: frozenset[str],
    network: Network,
    data: Data,
    step: Step,
    hyperparameters: Hyperparameters,
    setup: Setup,
    clock: Callable[[], float],
    *,
    probes: bool,
) -> Budget:
    """The training within so many seconds of a job, which changes `data.length`. A few steps are measured for it.

    probes: whether a linear probe is fitted before the first step.
    Raises InputError if not even one pass over the images fits.
    """
    samples, world, evaluator = setup.samples, setup.world, data.evaluator

    def measure(most: float) -> Speed:
        accumulate = data.layout.accumulate_steps
        return measure_speed(network.net, step, data.loader, accumulate, evaluator, data.validation, seconds=most)

    with setup.partition.unreadable_named(hyperparameters.on_bad_sample):
        return fitting_budget(
            hyperparameters,
            seconds,
            given,
            data.length,
            Ending.of(hyperparameters, samples, world, seconds, clock()),
            world,
            clock,
            setup.checkpointer.continued(hyperparameters),
            measure,
            floor_images=len(samples.train) / len(samples.validation) if probes else 0,
        )


def check_frozen_epochs(hyperparameters: Hyperparameters, length: Length) -> None:
    """Raises InputError if the training ends before the encoder learns."""
    frozen = hyperparameters.freeze_epochs
    if frozen and frozen * length.steps_per_epoch >= length.steps:
        raise InputError(
            f"freeze_epochs={frozen} are {frozen * length.steps_per_epoch} steps, and the training ends after "
            f"{length.steps}: the encoder never learns. Lower freeze_epochs, or train longer"
        )


def early_stopping(hyperparameters: Hyperparameters, objective: Objective) -> EarlyStopping | None:
    if not hyperparameters.early_stopping:
        return None
    return EarlyStopping(
        mode=objective.mode,
        patience=hyperparameters.early_stopping_patience,
        min_epochs=hyperparameters.early_stopping_min_epochs,
        tolerance=hyperparameters.early_stopping_tolerance,
    )


def seed_everything(seed: int) -> None:
    """The same job gives the same model, on the same hardware and versions."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # libraries may draw from the global generator
    torch.manual_seed(seed)


def describe(trainer: Trainer) -> str:
    """What is trained, on what, in one line."""
    spec, rule, step = trainer.config.model, trainer.config.preprocess, trainer.step
    height, width = trainer.loader.dataset.size
    trained = "" if (height, width) == (rule.height, rule.width) else f", training on {height} × {width}"
    name = spec.architecture + (f" with encoder {spec.encoder}" if spec.encoder else "")
    millions = sum(parameter.numel() for parameter in trainer.net.parameters()) / 1e6
    return (
        f"{name}: {millions:.1f} M parameters, {len(trainer.config.classes)} classes, "
        f"images {rule.height} × {rule.width} ({rule.resize}){trained}, "
        f"{step.precision.name} on {step.device}, {trainer.world.size} process(es)"
    )
