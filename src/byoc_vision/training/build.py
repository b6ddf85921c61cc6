"""From a job's hyperparameters and data to its trainer: each part is made here, and put in its place."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.cache import ImageCache, choose_place, free_memory, open_cache
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.loaders import TrainingLoader, build_training_loader
from byoc_vision.data.samples import Dataset
from byoc_vision.errors import InputError, ResourceError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.job import Job
from byoc_vision.models.build import build_model, check_input_size
from byoc_vision.models.parts import Encoder, encoder_of
from byoc_vision.models.pretrained import PretrainedInfo, load_pretrained
from byoc_vision.models.shapes import freeze_unused
from byoc_vision.precision import allow_tf32, choose_device, choose_precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.training import resolve_config
from byoc_vision.training.distributed import World, on_first, processes_per_host, smallest_over_processes
from byoc_vision.training.evaluation import Evaluator
from byoc_vision.training.instruments import Instruments
from byoc_vision.training.step import Step
from byoc_vision.training.losses import build_loss
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.parallel import joined, synchronised
from byoc_vision.training.trainer import Trainer
from byoc_vision.training.data_partition import Work
from byoc_vision.types import ModelSpec

logger = logging.getLogger(__name__)


def build_trainer(
    job: Job,
    hyperparameters: Hyperparameters,
    work: Work,
    world: World,
    class_weights: Sequence[float] | None = None,
) -> Trainer:
    """Raises UserError where the model cannot be built, sized or filled with weights as the job asks."""
    dataset = work.dataset
    spec = resolve_config.model_spec(hyperparameters, dataset)
    net = build_model(spec)
    pretrained = load_weights(net, spec, job, hyperparameters)
    rule = resolve_config.preprocess(hyperparameters, spec, pretrained)
    check_input_size(net, spec, rule.height, rule.width)
    crop_size = resolve_config.crop_size(hyperparameters, rule, spec.task)
    if crop_size is not None:
        check_input_size(net, spec, *crop_size, field="crop_size")
    freeze_unused(net)
    config = resolve_config.model_config_of(dataset, spec, rule)
    device = choose_device()
    if hyperparameters.sync_batch_norm:
        net = synchronised(net, device, world)
    allow_tf32()
    precision = choose_precision(hyperparameters.precision, device)
    engine = TorchEngine(net, config, device, precision)
    loss = build_loss(
        resolve_config.loss_name(hyperparameters, spec.task),
        config.activation,
        task=spec.task,
        class_weights=class_weights,
        label_smoothing=hyperparameters.label_smoothing,
    ).to(device)
    cache = image_cache(dataset, rule, hyperparameters, world)
    images = training_images(job, work, rule, crop_size, hyperparameters, cache)
    batches = training_batches(images, hyperparameters, work, world, device)
    encoder = learning_encoder(net, hyperparameters)
    optimizer = optimizer_for(net, encoder, hyperparameters, highest_learning_rate(hyperparameters, world))
    schedule = schedule_for(optimizer, -(-len(batches) // hyperparameters.accumulate_steps), hyperparameters)
    instruments = Instruments.of(job.paths, hyperparameters, world, device)
    step = Step(
        model=joined(engine.model, world),
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        precision=precision,
        scaler=precision.scaler(),
        device=device,
        clip_grad_norm=hyperparameters.clip_grad_norm,
        observers=instruments.observers,
    )
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
        dataset.validation, cache.validation if cache else None, share=work.shares["validation"]
    )
    return Trainer(
        config,
        net,
        step,
        batches,
        evaluator,
        validation,
        world,
        instruments,
        accumulate_steps=hyperparameters.accumulate_steps,
        encoder=encoder,
        freeze_epochs=hyperparameters.freeze_epochs,
        cache=cache,
    )


def learning_encoder(net: nn.Module, hyperparameters: Hyperparameters) -> Encoder | None:
    """The encoder, where it is to learn later or more slowly than the rest.

    Raises InputError where that is asked of a network without an encoder of its own.
    """
    if not hyperparameters.freeze_epochs and hyperparameters.encoder_lr_factor == 1:
        return None
    encoder = encoder_of(net)
    if encoder is None:
        raise InputError(
            "freeze_epochs and encoder_lr_factor are for networks with an encoder, which the classic U-Net has not; "
            "leave them out, or name an encoder (encoder=mobilenet_v2)"
        )
    return encoder


def highest_learning_rate(hyperparameters: Hyperparameters, world: World) -> float:
    """With `scale_learning_rate` in proportion to the images of a step: Goyal et al., "Accurate, Large Minibatch
    SGD", 2017, section 2.1.
    """
    if not hyperparameters.scale_learning_rate:
        return hyperparameters.learning_rate
    factor = world.size * hyperparameters.accumulate_steps
    logger.info("learning_rate: %g, as %d batches make a step", hyperparameters.learning_rate * factor, factor)
    return hyperparameters.learning_rate * factor


def optimizer_for(
    net: nn.Module, encoder: Encoder | None, hyperparameters: Hyperparameters, learning_rate: float
) -> Optimizer:
    return build_optimizer(
        hyperparameters.optimizer,
        net,
        learning_rate,
        momentum=hyperparameters.momentum,
        weight_decay=hyperparameters.weight_decay,
        betas=(hyperparameters.beta_1, hyperparameters.beta_2),
        eps=hyperparameters.epsilon,
        gamma=hyperparameters.rmsprop_alpha,
        encoder=encoder.parameters if encoder else (),
        encoder_lr_factor=hyperparameters.encoder_lr_factor,
    )


def schedule_for(optimizer: Optimizer, steps_per_epoch: int, hyperparameters: Hyperparameters) -> LambdaLR:
    return build_schedule(
        hyperparameters.lr_scheduler,
        optimizer,
        total_steps=hyperparameters.epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        warmup_epochs=hyperparameters.warmup_epochs,
        step_epochs=hyperparameters.lr_scheduler_step,
        factor=hyperparameters.lr_scheduler_factor,
    )


def image_cache(
    dataset: Dataset, rule: Preprocess, hyperparameters: Hyperparameters, world: World
) -> ImageCache | None:
    """The cache as the job asks for it, one for all processes of a host; none where images are read only once."""
    generation = on_first(world, time.time_ns)
    if hyperparameters.epochs == 1:
        return None
    place = choose_place(hyperparameters.cache, hyperparameters.cache_gb, memory=free_memory())
    return open_cache(dataset, rule, place, generation)


def training_images(
    job: Job,
    work: Work,
    rule: Preprocess,
    crop_size: tuple[int, int] | None,
    hyperparameters: Hyperparameters,
    cache: ImageCache | None = None,
) -> ImageDataset:
    """The samples to train on. Raises InputError for an augmentation that is not known or cannot be used."""
    dataset = work.dataset
    augmentation = build_augmentation(
        hyperparameters.augmentation,
        dataset.task,
        folder=job.folders.get("augmentation"),
        size=crop_size or (rule.height, rule.width),
    )
    return ImageDataset(
        dataset.train,
        dataset.classes,
        rule,
        augmentation,
        work.seed,
        crop_size=crop_size,
        on_bad_sample=hyperparameters.on_bad_sample,
        cache=cache.train if cache else None,
        mask_values=dataset.mask_values,
    )


def training_batches(
    images: ImageDataset, hyperparameters: Hyperparameters, work: Work, world: World, device: torch.device
) -> TrainingLoader:
    """This process's share, in as many batches as every other process has."""
    share = work.shares["train"]
    batches = build_training_loader(
        images,
        hyperparameters.batch_size,
        sampling=hyperparameters.sampling,
        workers=hyperparameters.num_workers,
        rank=share.rank,
        world_size=share.size,
        local_world_size=processes_per_host(),
        on_gpu=device.type == "cuda",
    )
    if work.is_sharded:
        batches.limit(smallest_over_processes(len(batches), world, device))
        logger.info(work.epoch_line(len(batches), hyperparameters.batch_size))
        if hyperparameters.sampling != "natural":
            logger.warning(
                "sampling=%s: each host draws from the classes that it has; class_weights=balanced counts all hosts'",
                hyperparameters.sampling,
            )
    return batches


def load_weights(net: nn.Module, spec: ModelSpec, job: Job, hyperparameters: Hyperparameters) -> PretrainedInfo | None:
    """Pretrained weights as the job asks for them; None where the network starts from scratch."""
    if hyperparameters.pretrained is False:
        return None
    channel = job.folders.get("pretrained")
    try:
        info = load_pretrained(
            net, spec, channel=channel, baked=resolve_config.baked_weights(), allow_hub=hyperparameters.pretrained is True
        )
    except ResourceError:
        if hyperparameters.pretrained is True or channel is not None:
            raise
        logger.info(
            "Training starts from random weights: neither a `pretrained` channel nor the image has any for this model"
        )
        return None
    logger.info("Training starts from %s", info.source)
    return info
