"""The training job from its channels to its artifact."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from byoc_vision import artifact
from byoc_vision.artifact import ModelCard
from byoc_vision.data.layouts import find_dataset
from byoc_vision.data.loaders import evaluation_loader, training_loader
from byoc_vision.data.preflight import check
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.errors import ResourceError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.inference.predictor import Predictor
from byoc_vision.job import Job
from byoc_vision.models.build import build_model
from byoc_vision.models.pretrained import PretrainedInfo, load_pretrained
from byoc_vision.models.spec import ModelSpec
from byoc_vision.precision import Precision, choose_device, choose_precision
from byoc_vision.training import plan
from byoc_vision.training.distribution import World, any_process, on_first
from byoc_vision.training.early_stopping import EarlyStopping
from byoc_vision.training.evaluation import evaluate_samples
from byoc_vision.training.fit import EpochRecord, Figures, History, fit, named
from byoc_vision.training.interruption import Interruption
from byoc_vision.training.loop import Step, train_one_epoch
from byoc_vision.training.losses import build_loss
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.results import write_results

log = logging.getLogger(__name__)


def run(job: Job, hyperparameters: Hyperparameters, world: World, interruption: Interruption) -> None:
    """Train on the job's channels and leave the best model in /opt/ml/model, its figures in /opt/ml/output/data.

    Raises UserError for whatever its user can mend, before the first epoch where that can be known.
    """
    started = time.monotonic()
    options = data_options(hyperparameters)
    dataset = on_first(world, lambda: check(find_dataset(job.folders, options), options))
    seed_everything(hyperparameters.seed)
    trainer = Trainer.build(job, hyperparameters, dataset, world, interruption)
    if world.is_first:
        describe(trainer, dataset, hyperparameters)

    def keep(record: EpochRecord) -> None:
        if world.is_first:
            card = trainer.card.model_copy(update={"metrics": named("validation", record.validation)})
            artifact.save(job.paths.model, card, trainer.net.state_dict())

    history = fit(
        trainer,
        hyperparameters.epochs,
        History(plan.objective(dataset)),
        learning_rate=trainer.learning_rate,
        early_stopping=early_stopping(hyperparameters, dataset),
        stopping=trainer.stopping,
        keep=keep,
    )
    if world.is_first:
        test = test_figures(job, trainer, dataset, interruption)
        write_results(job.paths.output_data, hyperparameters, dataset, history, test, time.monotonic() - started)


@dataclass
class Trainer:
    """The network in training with all that its epochs need."""

    card: ModelCard
    net: nn.Module
    predictor: Predictor
    step: Step
    train_batches: DataLoader[Any]
    validation: tuple[Sample, ...]
    loss: nn.Module
    batch_size: int
    world: World
    interruption: Interruption

    @classmethod
    def build(
        cls, job: Job, hyperparameters: Hyperparameters, dataset: Dataset, world: World, interruption: Interruption
    ) -> Trainer:
        spec = plan.model_spec(hyperparameters, dataset)
        net = build_model(spec)
        pretrained = load_weights(net, spec, job, hyperparameters)
        card = plan.model_card(dataset, spec, plan.preprocess(hyperparameters, spec, pretrained))
        device = choose_device()
        precision = choose_precision(hyperparameters.precision, device)
        predictor = Predictor(net, card, device, precision)
        batches = training_loader(dataset, card, hyperparameters, world)
        loss = build_loss(plan.loss_name(hyperparameters, spec.task), card.activation).to(device)
        model = synchronised(predictor.model, world)
        return cls(
            card=card,
            net=net,
            predictor=predictor,
            step=build_step(model, loss, hyperparameters, len(batches), precision, device),
            train_batches=batches,
            validation=dataset.validation,
            loss=loss,
            batch_size=hyperparameters.validation_batch_size or hyperparameters.batch_size,
            world=world,
            interruption=interruption,
        )
