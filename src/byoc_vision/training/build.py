"""From a job's hyperparameters and data to its trainer, whole: each part is made here, and put in its place."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.loaders import TrainingLoader
from byoc_vision.data.preflight import CheckedDataset
from byoc_vision.data.samples import Dataset
from byoc_vision.errors import InputError
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.job import Job
from byoc_vision.launch.distributed import (
    StopSync,
    World,
    on_rank0,
    synchronised,
    unwrap,
    wrap_ddp,
)
from byoc_vision.launch.job_time import budget_seconds, job_clock
from byoc_vision.launch.signals import StopSignals
from byoc_vision.models.build import build_model, check_batches_of_one, check_input_size
from byoc_vision.models.losses import build_loss
from byoc_vision.models.parts import Encoder, encoder_of
from byoc_vision.models.shapes import freeze_unused
from byoc_vision.models.torch_compile import compile_network
from byoc_vision.precision import allow_tf32, choose_device, time_convolutions
from byoc_vision.recipe import auto_recipe, resolve_config
from byoc_vision.recipe.linear_probe import LinearProbe
from byoc_vision.training.auto_batch_size import with_fitting_batch_size
from byoc_vision.training.auto_precision import training_precision
from byoc_vision.training.batch_layout import BatchLayout, Length
from byoc_vision.training.best_model import BestModel
from byoc_vision.training.budget import fitting_budget
from byoc_vision.training.budget_plan import Ending, measure_speed
from byoc_vision.training.callbacks.build import Parts, build_callbacks
from byoc_vision.training.callbacks.run_record import run_metadata
from byoc_vision.training.checkpoint import Checkpointer
from byoc_vision.training.class_weights import find_class_weights
from byoc_vision.training.data_partition import DataPartition, find_data, image_cache, training_images, training_loader
from byoc_vision.training.history import EarlyStopping, History
from byoc_vision.training.initial_weights import find_first_weights, with_model_of_channel
from byoc_vision.training.optimizers import highest_learning_rate, optimizer_for, schedule_for
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
    samples, dataset = checked.dataset if checked else partition.dataset, partition.dataset
    resolve_config.check_task(hyperparameters, dataset.task)
    objective = resolve_config.objective(hyperparameters, samples)
    history = History(objective)
    # The model
    spec = resolve_config.model_spec(hyperparameters, dataset)
    net = build_model(spec)
    checkpointer = checkpointer or Checkpointer(None, world)
    weights = find_first_weights(net, spec, dataset.classes, job, hyperparameters, world, checkpointer)
    device = choose_device()
    facts = auto_recipe.Facts.of(
        net, spec, dataset, partition.shares["train"].size, weights.info, checked.report if checked else None, device
    )
    given = given or frozenset(hyperparameters.model_fields_set)
    seconds = budget_seconds(hyperparameters.budget, job.paths, world)
    if seconds is None:
        hyperparameters, given = hyperparameters.model_copy(update={"budget": None}), given - {"budget"}
    hyperparameters, choices = auto_recipe.choose(hyperparameters, facts, given)
    if checked and any(choice.name == "class_weights" for choice in choices):
        class_weights = find_class_weights(hyperparameters, checked, partition, world)
    rule = resolve_config.preprocess(hyperparameters, spec, weights.info, dataset.bands)
    check_input_size(net, spec, rule.height, rule.width)
    crop_name, crop_size = resolve_config.training_size(hyperparameters, rule, spec.task) or ("", None)
    if crop_size is not None:
        check_input_size(net, spec, *crop_size, field=crop_name)
    freeze_unused(net, spec.in_channels)
    config = resolve_config.model_config_of(dataset, spec, rule, hyperparameters)
    if hyperparameters.sync_batch_norm:
        net = synchronised(net, device, world)
    allow_tf32()
    time_convolutions()
    precision = training_precision(hyperparameters, config, crop_size, device, world, checkpointer)
    engine = TorchEngine(net, config, device, precision)
    if hyperparameters.compile:
        compile_network(engine.model, device)
    loss = build_loss(
        resolve_config.loss_name(hyperparameters, spec.task),
        config.activation,
        task=spec.task,
        class_weights=class_weights,
        label_smoothing=hyperparameters.label_smoothing,
    ).to(device)
    # The data
    cache = image_cache(dataset, rule, hyperparameters, world)
    crop = resolve_config.random_crop(hyperparameters, rule, crop_size)
    mixing = resolve_config.mixing(hyperparameters, dataset)
    images = training_images(job, partition, rule, crop, hyperparameters, cache, mixing)
    loader = training_loader(images, hyperparameters, partition, world, device)
    check_smallest_batch(net, spec, images, loader, hyperparameters, world)
    layout = BatchLayout.of(hyperparameters, samples, len(loader), world, partition.digest)
    length = Length.of(hyperparameters, layout.steps_per_epoch)
    evaluator = Evaluator(
        Predictor(config, engine),
        dataset.classes,
        hyperparameters.validation_batch_size or hyperparameters.batch_size,
        loss=loss,
        workers=hyperparameters.num_workers,
        world=world,
        top_k=hyperparameters.top_k,
        on_bad_sample=hyperparameters.on_bad_sample,
        mask_values=dataset.mask_values,
    )
    validation = evaluator.batches(
        dataset.validation, cache.validation if cache else None, share=partition.shares["validation"]
    )
    # The step, and what follows it
    encoder = learning_encoder(net, hyperparameters)
    rate, scaler = highest_learning_rate(hyperparameters, world.size), precision.scaler()
    optimizer = optimizer_for(net, encoder, hyperparameters, rate, scaled=scaler.is_enabled())
    step = Step(
        model=wrap_ddp(engine.model, world),
        loss=loss,
        optimizer=optimizer,
        schedule=schedule_for(optimizer, length, hyperparameters),
        precision=precision,
        scaler=scaler,
        device=device,
        clip_grad_norm=hyperparameters.clip_grad_norm,
        frozen_bn=encoder.batch_norms if encoder and hyperparameters.freeze_batch_norm else (),
        world=world,
    )
    probes = bool(weights.info and hyperparameters.linear_probe)
    budget, clock = None, clock or job_clock()
    if hyperparameters.budget and seconds is not None:
        with partition.unreadable_named(hyperparameters.on_bad_sample):
            budget = fitting_budget(
                hyperparameters,
                seconds,
                given,
                length,
                Ending.of(hyperparameters, samples, world, seconds, clock()),
                world,
                clock,
                checkpointer.peek() if hyperparameters.resume == "auto" else None,
                lambda most: measure_speed(
                    net, step, loader, layout.accumulate_steps, evaluator, validation, seconds=most
                ),
                floor_images=len(samples.train) / len(samples.validation) if probes else 0,
                averages=auto_recipe.averages_weights(hyperparameters, facts, given),
            )
        hyperparameters, choices = budget.settings(hyperparameters, choices, given)
        scaler = precision.scaler()  # new ones: measuring made steps with the others
        optimizer = optimizer_for(net, encoder, hyperparameters, rate, scaled=scaler.is_enabled())
        step = replace(step, optimizer=optimizer, scaler=scaler)
    hyperparameters = hyperparameters.model_copy(update={"epochs": length.epochs})
    check_frozen_epochs(hyperparameters, length)
    parts = Parts(
        config, net, unwrap(step.model), optimizer, precision, scaler, device, loader, layout, length, history, cache
    )
    metadata = run_metadata(
        job, hyperparameters, given, choices, samples, objective, config, net, device, precision, world, weights
    )
    callbacks, timer, health, run = build_callbacks(
        job.paths, hyperparameters, world, parts, metadata, checked.report if checked else None, started
    )
    run.budget = budget.known if budget else None
    step = replace(step, schedule=schedule_for(optimizer, length, hyperparameters), callbacks=callbacks)
    average = WeightAverage(net, hyperparameters.ema_decay) if hyperparameters.ema_decay else None
    best = BestModel(
        paths=job.paths,
        config=config,
        net=net,
        world=world,
        evaluator=evaluator,
        validation=validation,
        partition=partition,
        seed=hyperparameters.seed,
        run=run,
        callbacks=callbacks,
        average=average,
        chosen_at_end=[name for name in ("mask_threshold", "min_area") if getattr(hyperparameters, name) == "auto"],
        soup=Soup(hyperparameters.soup, objective) if hyperparameters.soup else None,
    )
    return Trainer(
        hyperparameters=hyperparameters,
        world=world,
        config=config,
        net=net,
        step=step,
        loader=loader,
        partition=partition,
        layout=layout,
        length=length,
        history=history,
        best=best,
        run=run,
        checkpointer=checkpointer,
        signals=signals or StopSignals(),
        stop=StopSync(world, device),
        callbacks=callbacks,
        timer=timer,
        health=health,
        early_stopping=early_stopping(hyperparameters, objective),
        encoder=encoder,
        cache=cache,
        first_weights=weights,
        average=average,
        probe=LinearProbe.of(net, evaluator, dataset.train, partition.shares["train"], loss, hyperparameters.seed)
        if probes
        else None,
        budget=budget,
    )


def check_smallest_batch(
    net: nn.Module,
    spec: ModelSpec,
    images: ImageDataset,
    loader: TrainingLoader,
    hyperparameters: Hyperparameters,
    world: World,
) -> None:
    """Raises InputError if a batch has one image, and the network needs two."""
    is_shared = hyperparameters.sync_batch_norm and world.size > 1
    if is_shared or (hyperparameters.batch_size > 1 and len(loader.sampler) > 1):
        return
    remedy = "Set batch_size=2 or more" if hyperparameters.batch_size == 1 else "Add training images: a process has one"
    check_batches_of_one(net, spec, *images.size, remedy)


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


def learning_encoder(net: nn.Module, hyperparameters: Hyperparameters) -> Encoder | None:
    """The encoder, if it learns later or more slowly than the rest; else None.

    Raises InputError if that is asked of a network without an encoder of its own.
    """
    frozen = hyperparameters.freeze_epochs or hyperparameters.freeze_batch_norm
    if not frozen and hyperparameters.encoder_lr_factor == 1:
        return None
    encoder = encoder_of(net)
    if encoder is None:
        raise InputError(
            "freeze_epochs, freeze_batch_norm and encoder_lr_factor are for networks with an encoder, not the classic "
            "U-Net; leave them out, or name an encoder (encoder=mobilenet_v2)"
        )
    return encoder


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
