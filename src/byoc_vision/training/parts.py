"""The parts of a trainer: the network, the data, a step of the optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.cache import ImageCache
from byoc_vision.data.loaders import EvaluationBatch, TrainingLoader
from byoc_vision.data.preflight.report import PreflightReport
from byoc_vision.data.samples import Dataset
from byoc_vision.errors import InputError
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.job import Job
from byoc_vision.launch.distributed import World, synchronised, wrap_ddp
from byoc_vision.models.build import check_batches_of_one, check_input_size
from byoc_vision.models.losses import Loss, build_loss
from byoc_vision.models.parts import Encoder, encoder_of
from byoc_vision.models.pretrained import PretrainedInfo
from byoc_vision.models.shapes import freeze_unused
from byoc_vision.models.torch_compile import compile_network
from byoc_vision.precision import Precision, allow_tf32, time_convolutions
from byoc_vision.recipe import resolve_config
from byoc_vision.training.auto_precision import training_precision
from byoc_vision.training.batch_layout import BatchLayout, Length
from byoc_vision.training.checkpoint import Checkpointer
from byoc_vision.training.data_partition import DataPartition, image_cache, training_images, training_loader
from byoc_vision.training.optimizers import optimizer_for, schedule_for
from byoc_vision.training.step import Step
from byoc_vision.types import ModelSpec


class Setup(NamedTuple):
    """What the parts of a trainer are made for. samples: of all hosts. report: of the check of the data."""

    job: Job
    world: World
    partition: DataPartition
    samples: Dataset
    report: PreflightReport | None
    checkpointer: Checkpointer
    device: torch.device


class Network(NamedTuple):
    """net: whose weights are saved. engine: the same with its normalisation, on its device.

    crop_size: height and width of training images, if they are not the model's.
    """

    net: nn.Module
    config: ModelConfig
    engine: TorchEngine
    precision: Precision
    loss: Loss
    crop_size: tuple[int, int] | None


class Data(NamedTuple):
    """This process's batches, to train on and to validate with, and how long it trains on them."""

    loader: TrainingLoader
    layout: BatchLayout
    length: Length
    cache: ImageCache | None
    evaluator: Evaluator
    validation: Iterable[EvaluationBatch]


def build_network(
    net: nn.Module,
    spec: ModelSpec,
    pretrained: PretrainedInfo | None,
    class_weights: Sequence[float] | None,
    hyperparameters: Hyperparameters,
    setup: Setup,
) -> Network:
    """What predicts, and the loss that it learns from. net: of `spec`, with its first weights, which may be pretrained.

    Raises InputError for sizes that the network cannot have, or that contradict each other.
    """
    dataset, device = setup.partition.dataset, setup.device
    rule = resolve_config.preprocess(hyperparameters, spec, pretrained, dataset.bands)
    check_input_size(net, spec, rule.height, rule.width)
    crop_name, crop_size = resolve_config.training_size(hyperparameters, rule, spec.task) or ("", None)
    if crop_size is not None:
        check_input_size(net, spec, *crop_size, field=crop_name)
    freeze_unused(net, spec.in_channels)
    config = resolve_config.model_config_of(dataset, spec, rule, hyperparameters)
    if hyperparameters.sync_batch_norm:
        net = synchronised(net, device, setup.world)
    allow_tf32()
    time_convolutions()
    precision = training_precision(hyperparameters, config, crop_size, device, setup.world, setup.checkpointer)
    engine = TorchEngine(net, config, device, precision)
    if hyperparameters.compile:
        compile_network(engine.model, device)
    loss = build_loss(
        resolve_config.loss_name(hyperparameters, spec.task),
        config.activation,
        task=spec.task,
        class_weights=class_weights,
        label_smoothing=hyperparameters.label_smoothing,
    )
    return Network(net, config, engine, precision, loss.to(device), crop_size)


def build_data(network: Network, hyperparameters: Hyperparameters, setup: Setup) -> Data:
    """Raises InputError for an augmentation that is not known, and for batches that the network cannot learn from."""
    partition, world, rule = setup.partition, setup.world, network.config.preprocess
    dataset = partition.dataset
    cache = image_cache(dataset, rule, hyperparameters, world)
    crop = resolve_config.random_crop(hyperparameters, rule, network.crop_size)
    mixing = resolve_config.mixing(hyperparameters, dataset)
    images = training_images(setup.job, partition, rule, crop, hyperparameters, cache, mixing)
    loader = training_loader(images, hyperparameters, partition, world, setup.device)
    check_smallest_batch(network.net, network.config.model, loader, hyperparameters, world)
    layout = BatchLayout.of(hyperparameters, setup.samples, len(loader), world, partition.digest)
    evaluator = Evaluator(
        Predictor(network.config, network.engine),
        dataset.classes,
        hyperparameters.validation_batch_size or hyperparameters.batch_size,
        loss=network.loss,
        workers=hyperparameters.num_workers,
        world=world,
        top_k=hyperparameters.top_k,
        on_bad_sample=hyperparameters.on_bad_sample,
        mask_values=dataset.mask_values,
    )
    validation = evaluator.batches(
        dataset.validation, cache.validation if cache else None, share=partition.shares["validation"]
    )
    return Data(loader, layout, Length.of(hyperparameters, layout.steps_per_epoch), cache, evaluator, validation)


def build_step(
    network: Network,
    encoder: Encoder | None,
    rate: float,
    data: Data,
    hyperparameters: Hyperparameters,
    setup: Setup,
) -> Step:
    """A step of the optimiser, without callbacks. rate: the highest learning rate."""
    return Step(
        model=wrap_ddp(network.engine.model, setup.world),
        loss=network.loss,
        precision=network.precision,
        device=setup.device,
        clip_grad_norm=hyperparameters.clip_grad_norm,
        frozen_bn=encoder.batch_norms if encoder and hyperparameters.freeze_batch_norm else (),
        world=setup.world,
        **moving_parts(network, encoder, rate, data.length, hyperparameters),
    )


def moving_parts(
    network: Network, encoder: Encoder | None, rate: float, length: Length, hyperparameters: Hyperparameters
) -> dict[str, Any]:
    """The optimiser, the scaler and the schedule of a `Step`, as they are before the first one."""
    scaler = network.precision.scaler()
    optimizer = optimizer_for(network.net, encoder, hyperparameters, rate, scaled=scaler.is_enabled())
    return {"optimizer": optimizer, "scaler": scaler, "schedule": schedule_for(optimizer, length, hyperparameters)}


def check_smallest_batch(
    net: nn.Module,
    spec: ModelSpec,
    loader: TrainingLoader,
    hyperparameters: Hyperparameters,
    world: World,
) -> None:
    """Raises InputError if a batch has one image, and the network needs two."""
    is_shared = hyperparameters.sync_batch_norm and world.size > 1
    if is_shared or (hyperparameters.batch_size > 1 and len(loader.sampler) > 1):
        return
    remedy = "Set batch_size=2 or more" if hyperparameters.batch_size == 1 else "Add training images: a process has one"
    check_batches_of_one(net, spec, *loader.dataset.size, remedy)


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
