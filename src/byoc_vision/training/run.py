"""The training job from its channels to its artifact."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import numpy as np
import torch

from byoc_vision.data.image_dataset import UnreadableSampleError
from byoc_vision.data.pipe_mode import differing_channels, content_hashes
from byoc_vision.data.preflight import CheckedDataset, check_split, error_naming_all
from byoc_vision.data.samples import Dataset
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.job import Job
from byoc_vision.report.record import Record
from byoc_vision.training import resolve_config
from byoc_vision.training.callbacks.run_metadata import first_record
from byoc_vision.training.answers.augmented import write_augmented
from byoc_vision.training.answers.collector import Collector
from byoc_vision.training.build import build_trainer
from byoc_vision.training.auto_batch_size import with_fitting_batch_size
from byoc_vision.training.checkpoint import Checkpoints
from byoc_vision.training.class_weights import class_weights
from byoc_vision.training.openvino_export import leave_compiled
from byoc_vision.training.distributed import World, gathered, on_hosts
from byoc_vision.training.early_stopping import EarlyStopping
from byoc_vision.training.history import EpochRecord, History, fit
from byoc_vision.training.callbacks.health.watch import HealthWatch, StoppedByRuleError
from byoc_vision.training.signals import Interruption, StopRequestedError
from byoc_vision.training.callbacks.run_report import Journal
from byoc_vision.training.measuring import measure_best
from byoc_vision.training.batch_layout import Grid, Progress
from byoc_vision.training.pulse import Pulse
from byoc_vision.training.session import Session
from byoc_vision.training.callbacks.time_to_first_step import FirstStep
from byoc_vision.training.tracking.build import build_trackers
from byoc_vision.training.trainer import Trainer
from byoc_vision.training.data_partition import Work, find_work

logger = logging.getLogger(__name__)


def run(job: Job, hyperparameters: Hyperparameters, world: World, interruption: Interruption) -> None:
    """Train on the job's channels and leave the best model in /opt/ml/model, its figures in /opt/ml/output/data.

    The first process alone writes. Raises UserError for whatever its user can mend, before the first
    epoch where that can be known.
    """
    started, given = time.monotonic(), frozenset(hyperparameters.model_fields_set)
    checkpoints = Checkpoints.of(job.paths, hyperparameters, world)
    compare_streams(job, world)
    checked, work = find_work(job, hyperparameters, world)
    dataset = checked.dataset
    objective = resolve_config.objective(hyperparameters, dataset)
    weights = class_weights(hyperparameters, dataset, checked.report.classes, checked.report.checked["train"])
    seed_everything(hyperparameters.seed)
    hyperparameters = with_fitting_batch_size(hyperparameters, dataset, world)
    trainer = build_trainer(job, hyperparameters, work, world, weights)
    logger.info(describe(trainer))
    session = new_session(job, hyperparameters, trainer, work, dataset, objective, checkpoints, interruption)
    if world.is_first:
        record = first_record(job, hyperparameters, given, dataset, objective, trainer)
        session.journal = journal_of(session, record, started)
    with telling(session), naming_all(work.dataset, hyperparameters), closing(trainer), session.health.watching():
        session.resume()
        begin(session)
        session.health.judge_data(checked.report)
        train_and_test(session, checked, work)
    if world.is_first:
        if hyperparameters.openvino:
            leave_compiled(job.paths.model)
        logger.info("The model is in %s, its figures are in %s", job.paths.model, job.paths.output_data)


def compare_streams(job: Job, world: World) -> None:
    """A sample of a pipe is found by its place in it, so every host must have got the same.

    Raises InputError that names the channels where they differ.
    """
    found = gathered(content_hashes(job) if world.local_rank == 0 else {}, world)
    if different := differing_channels(found):
        raise InputError(
            f"the pipes of {', '.join(different)} brought other bytes to other hosts; every host must get all records "
            "in the same order: S3DataDistributionType FullyReplicated, and no ShuffleConfig"
        )


def new_session(
    job: Job,
    hyperparameters: Hyperparameters,
    trainer: Trainer,
    work: Work,
    dataset: Dataset,
    objective: resolve_config.Objective,
    checkpoints: Checkpoints | None,
    interruption: Interruption,
) -> Session:
    """One that has not begun, and has no journal yet. dataset: the samples of all hosts."""
    device, world = trainer.step.device, trainer.world

    def collector(split: str) -> Collector:
        samples = work.dataset.splits[split]
        return Collector(trainer.config, samples, split, hyperparameters.seed, root=job.paths.channels)

    return Session(
        paths=job.paths,
        hyperparameters=hyperparameters,
        trainer=trainer,
        history=History(objective),
        early_stopping=early_stopping(hyperparameters, objective),
        checkpoints=checkpoints,
        interruption=interruption,
        progress=Progress(sums=torch.zeros(2, dtype=torch.float64, device=device)),
        grid=Grid.of(hyperparameters, dataset, len(trainer.batches), world, work.digest),
        pulse=Pulse(world, device),
        first_step=FirstStep(device),
        health=HealthWatch(trainer, hyperparameters, objective, trainer.instruments),
        collector=collector,
    )


def journal_of(session: Session, record: Record, started: float) -> Journal:
    """record: what is known before. started: in seconds of `time.monotonic`."""
    trainer, folder = session.trainer, session.paths.output_data
    return Journal(
        folder,
        record,
        session.history,
        started,
        gpus=trainer.world.size if trainer.step.device.type == "cuda" else 0,
        page=session.hyperparameters.report,
        findings=lambda: session.health.findings,
        times=trainer.instruments.times,
        augment=lambda: write_augmented(folder, trainer.batches.dataset, trainer.config.classes),
    )


def begin(session: Session) -> None:
    """Tell who follows the job that it trains now, and where it goes on."""
    if session.journal:
        session.journal.trackers = build_trackers(
            session.paths, session.hyperparameters, session.trainer, session.progress
        )
        session.journal.begin()


@contextmanager
def telling(session: Session) -> Iterator[None]:
    """Whatever ends the job is told in its record too."""
    if session.journal is None:
        yield
        return
    with session.journal.telling_failures():
        yield


@contextmanager
def naming_all(dataset: Dataset, hyperparameters: Hyperparameters) -> Iterator[None]:
    """A sample that training cannot use ends the job as it would have before training: all such samples are named."""
    try:
        yield
    except UnreadableSampleError as error:
        if hyperparameters.on_bad_sample == "skip":
            raise  # the error tells that there are too many to leave out
        raise error_naming_all(dataset, str(error)) from None


def train_and_test(session: Session, checked: CheckedDataset, work: Work) -> None:
    """Train what is left to train, and measure the best model on the `test` channel, where there is one.

    A request to stop ends either, with a model and a checkpoint left behind.
    """
    session.interruption.training = True

    def after_epoch(record: EpochRecord, last: bool) -> None:
        session.after_epoch(record, last)
        if record.epoch == 1:
            check_test(session, checked, work)

    try:
        if not session.complete:
            train(session, after_epoch)
        session.finish()
        session.end(measure_best(session, work))
    except StopRequestedError:
        session.leave()


def train(session: Session, after_epoch: Callable[[EpochRecord, bool], None]) -> None:
    """All epochs, unless a health rule ends the training."""
    try:
        fit(
            session,
            session.hyperparameters.epochs,
            session.history,
            learning_rate=session.learning_rate,
            early_stopping=session.early_stopping,
            keep=session.keep,
            after_epoch=after_epoch,
            is_enough=session.is_enough,
            diagnosis=lambda: session.health.diagnosis,
        )
    except StoppedByRuleError:
        session.end_by_rule()


def check_test(session: Session, checked: CheckedDataset, work: Work) -> None:
    """Read what was not read of the `test` channel now, and not when all is trained.

    Raises DataError that names the samples that cannot be used, where they are not to be left out.
    """
    report = checked.report
    if report.checked.get("test") == report.samples.get("test") or session.hyperparameters.on_bad_sample == "skip":
        return
    on_hosts(session.trainer.world, lambda: check_split(work.dataset, "test"))


def early_stopping(hyperparameters: Hyperparameters, objective: resolve_config.Objective) -> EarlyStopping | None:
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
    name = spec.architecture + (f" with encoder {spec.encoder}" if spec.encoder else "")
    millions = sum(parameter.numel() for parameter in trainer.net.parameters()) / 1e6
    return (
        f"{name}: {millions:.1f} M parameters, {len(trainer.config.classes)} classes, "
        f"images {rule.height} × {rule.width} ({rule.resize}), "
        f"{step.precision.name} on {step.device}, {trainer.world.size} process(es)"
    )
