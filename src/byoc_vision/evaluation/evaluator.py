"""How good a model is: its metrics on labelled images, through the same Predictor that serves it."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from byoc_vision import __version__
from byoc_vision.artifact import ModelConfig
from byoc_vision.data.cache import CachePart
from byoc_vision.data.formats import read_folder
from byoc_vision.data.image_dataset import EvaluationDataset
from byoc_vision.data.loaders import EvaluationBatch, build_evaluation_loader
from byoc_vision.data.preflight import check_labelled
from byoc_vision.data.samples import NOTHING_SAID, DataOptions, OnBadSample, Sample
from byoc_vision.errors import DataError, InputError
from byoc_vision.evaluation.epoch_record import Metrics
from byoc_vision.evaluation.metric_names import metrics_of
from byoc_vision.evaluation.predictions import Collector, write_predictions
from byoc_vision.evaluation.scoring import ScoredPrediction, score
from byoc_vision.inference.engines.base import EnginePrecision, Logits
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.launch.distributed import Share, World, any_process, processes_per_host, sum_over_processes
from byoc_vision.launch.signals import StopRequestedError
from byoc_vision.models.build import build_model
from byoc_vision.models.losses import Loss, divide
from byoc_vision.preprocess import IGNORED
from byoc_vision.progress import Progress
from byoc_vision.report.record import Evaluation, Record, Run, write_record
from byoc_vision.system.gpus import find_gpus
from byoc_vision.system.machine import available_cores
from byoc_vision.types import ClassInfo

FOLDER_SPLIT = "test"  # what the images of a folder are called: none of them was trained on
MOST_THREADS = 4  # that postprocess masks: each holds the logits of a whole image

logger = logging.getLogger(__name__)


class MetricSet(Protocol):
    """Gets the predictions and targets batch by batch, and is read once."""

    def update(self, images: Iterable[ScoredPrediction]) -> None: ...

    def compute(self) -> Metrics: ...


class PredictionSink(Protocol):
    """Gets each prediction, such as a `Collector`."""

    def add(self, sample_index: int, prepared: Prepared, image: ScoredPrediction) -> None: ...


@dataclass(frozen=True)
class Evaluator:
    """Measures a predictor on labelled images, as often as needed.

    mask_values: all that a mask may hold; one with others cannot be used. None: other values are not counted.
    """

    predictor: Predictor
    classes: Sequence[ClassInfo]
    batch_size: int
    loss: Loss | None = None
    workers: int | None = None
    world: World = field(default_factory=World)
    top_k: int | None = None
    on_bad_sample: OnBadSample = "fail"
    mask_values: frozenset[int] | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a `top_k` that cannot be measured."""
        check_top_k(self.top_k, self.predictor.config)

    def batches(
        self, samples: Sequence[Sample], cache: CachePart | None = None, share: Share | None = None
    ) -> Iterable[EvaluationBatch]:
        """This process's share of the samples; keep it between evaluations, since its worker processes stay.

        share: by default all processes divide the samples.
        """
        rule = self.predictor.config.preprocess
        share = share or self.world.share
        images = EvaluationDataset(
            samples,
            self.classes,
            rule,
            on_bad_sample=self.on_bad_sample,
            cache=cache,
            mask_values=self.mask_values,
        )
        return build_evaluation_loader(
            images,
            self.batch_size,
            workers=self.workers,
            rank=share.rank,
            world_size=share.size,
            local_world_size=processes_per_host(),
            on_gpu=self.predictor.device != "cpu",
        )

    def evaluate(
        self,
        batches: Iterable[EvaluationBatch],
        stopping: Callable[[], bool] | None = None,
        collector: PredictionSink | None = None,
    ) -> Metrics:
        """The metrics over all processes' batches, at each image's own size, the same in each process.

        With a loss also its mean, at the model's size. The number of images that cannot be read is logged.

        Args:
            batches: of this process.
            stopping: called after each batch; whether to stop.
            collector: gets each of this process's predictions.

        Raises:
            DataError: no image can be read.
            StopRequestedError: `stopping` returned True in a process; raised in all of them.
        """
        world, loss, device = self.world, self.loss, torch.device(self.predictor.device)
        metrics = build_metrics(self.predictor.config, self.top_k)
        counts = torch.zeros(2, dtype=torch.float64, device=device)  # images, unreadable images
        losses = torch.zeros(2, loss.terms if loss else 0, dtype=torch.float64, device=device)  # sums and totals
        total = len(batches.sampler) if isinstance(batches, DataLoader) else None  # type: ignore[arg-type]
        with (
            ThreadPoolExecutor(min(MOST_THREADS, max(1, available_cores() // processes_per_host()))) as threads,
            Progress("evaluating", total, enabled=world.is_main) as progress,
        ):
            # A mask at a photograph's size takes milliseconds outside of Python; a label takes less than a thread does.
            each = threads.map if self.predictor.config.task == "segmentation" else map
            for batch in batches:
                counts[0] += len(batch.targets)
                counts[1] += len(batch.unreadable)
                if not batch.targets:
                    continue
                inputs = batch.images.permute(0, 2, 3, 1).numpy()
                logits = self.predictor.forward(inputs)
                if loss is not None:
                    targets = torch.stack(list(map(self._target, batch.targets))).to(device)
                    losses += torch.stack([loss.sums(torch.as_tensor(logits), targets).double(), loss.totals(targets)])
                prepared = list(map(Prepared, inputs, batch.heights, batch.widths))
                scored = each(self._score, logits, prepared, batch.targets)
                metrics.update(scored if collector is None else _collected(collector, batch, prepared, scored))
                progress.update(len(batch.targets))
                if stopping and stopping():
                    break
        if stopping and any_process(stopping(), world, device):
            raise StopRequestedError
        images, unreadable = sum_over_processes(counts, world).tolist()
        _check_read(images, unreadable, world)
        values = metrics.compute()
        return values if loss is None else {"loss": divide(*sum_over_processes(losses, world)).item(), **values}

    def _score(self, logits: Logits, prepared: Prepared, target: np.ndarray) -> ScoredPrediction:
        return score(self.predictor.finish(logits, prepared), target, len(self.predictor.config.classes))

    def _target(self, target: np.ndarray) -> Tensor:
        """At the model's size: a label [] and labels [K] as they are, a mask [H, W] by the artifact's rule."""
        rule = self.predictor.config.preprocess
        return torch.from_numpy(rule.mask(target, fill=IGNORED) if target.ndim == 2 else target)


def _collected(
    collector: PredictionSink, batch: EvaluationBatch, prepared: Sequence[Prepared], images: Iterable[ScoredPrediction]
) -> Iterator[ScoredPrediction]:
    """The images one by one: a batch of large ones need not be in memory together."""
    for index, item, image in zip(batch.sample_indices, prepared, images, strict=True):
        collector.add(index, item, image)
        yield image


def _check_read(images: float, unreadable: float, world: World) -> None:
    if not images:
        raise DataError(f"none of the {unreadable:.0f} images to be evaluated can be read; the log names each of them")
    if unreadable and world.is_main:
        logger.warning("%d of %d images cannot be read: the metrics are of the others", unreadable, unreadable + images)


def build_metrics(config: ModelConfig, top_k: int | None = None) -> MetricSet:
    """The metrics for the predictions of such a model."""
    # Imported when there is something to measure: torchmetrics takes seconds, the first step need not wait for it.
    from byoc_vision.evaluation.metrics import ClassificationMetrics, MultiLabelMetrics, SegmentationMetrics

    if config.task == "segmentation":
        return SegmentationMetrics(config.class_names)
    if config.activation == "sigmoid":
        return MultiLabelMetrics(config.class_names, config.threshold)
    return ClassificationMetrics(config.class_names, top_k)


def check_top_k(top_k: int | None, config: ModelConfig) -> None:
    """Raises InputError if predictions have no order, or all classes are among the first k."""
    if top_k is None:
        return
    if config.task == "segmentation" or config.activation == "sigmoid":
        raise InputError(f"top_k={top_k} is for images with one class each; leave it out")
    if top_k >= len(config.classes):
        raise InputError(f"top_k={top_k} of {len(config.classes)} classes is always right; take less, or leave it out")


# A saved model on a folder of labelled images


def evaluate_folder(
    model: Path,
    folder: Path,
    batch_size: int = 16,
    precision: EnginePrecision = "float32",
    options: DataOptions = NOTHING_SAID,
) -> Metrics:
    """The metrics of a saved model on a folder of labelled images.

    options: `label_column`, `image_column`, `label_attribute` and `ignore_index` count.

    Raises:
        DataError, InputError: names what does not fit: the model, the format, an image, a class.
    """
    evaluator, samples = evaluator_for(model, folder, batch_size, precision, options)
    return evaluator.evaluate(evaluator.batches(samples))


def report_on_folder(
    model: Path,
    folder: Path,
    output: Path,
    batch_size: int = 16,
    precision: EnginePrecision = "float32",
    options: DataOptions = NOTHING_SAID,
) -> Metrics:
    """The metrics, which are written into `output` as a job's are, with tables, images and report.html.

    Raises:
        DataError, InputError: as `evaluate_folder`.
        OSError: `output` cannot be written.
    """
    from byoc_vision.report.page import write_report  # it takes a second, which nothing else should wait for

    started = time.monotonic()
    evaluator, samples = evaluator_for(model, folder, batch_size, precision, options)
    collector = Collector(evaluator.predictor.config, samples, FOLDER_SPLIT, root=folder.absolute())
    metrics = evaluator.evaluate(evaluator.batches(samples), collector=collector)
    collected = collector.gather(metrics, World())
    assert collected is not None, "there is no other process"
    write_predictions(output, [collected])
    write_record(output, _record(evaluator, collected.evaluation, folder, time.monotonic() - started))
    write_report(output)
    return metrics


def evaluator_for(
    model: Path,
    folder: Path,
    batch_size: int,
    precision: EnginePrecision,
    options: DataOptions = NOTHING_SAID,
) -> tuple[Evaluator, tuple[Sample, ...]]:
    """What measures a saved model on a folder, and the samples there. Raises as `evaluate_folder` does."""
    predictor = Predictor.load(model, precision=precision)
    config = predictor.config
    classes = config.classes
    several = config.task == "classification" and config.activation == "sigmoid"
    samples = read_folder(folder.absolute(), config.model.task, classes, replace(options, multi_label=several))
    if several:
        samples = tuple(map(_with_labels, samples))
    samples = check_labelled(samples, classes, ignore_index=options.ignore_index, bands=config.preprocess.bands)
    return Evaluator(predictor, classes, batch_size), samples


def _with_labels(sample: Sample) -> Sample:
    """A sample of a class folder as a multi-label model needs it: with a list of one class."""
    return sample if sample.label is None else replace(sample, label=None, labels=(sample.label,))


def _record(evaluator: Evaluator, evaluation: Evaluation, folder: Path, seconds: float) -> Record:
    predictor, config = evaluator.predictor, evaluator.predictor.config
    multi_label = config.task == "classification" and config.activation == "sigmoid"
    objective, *_ = metrics_of(config.model.task, multi_label=multi_label, classes=len(config.classes))
    return Record(
        package_version=__version__,
        task=config.model.task,
        multi_label=multi_label,
        name=folder.absolute().name,
        state="finished",
        classes=list(config.classes),
        images={FOLDER_SPLIT: evaluation.images},
        objective=f"{FOLDER_SPLIT}:{objective}",
        test=evaluation.metrics,
        seconds=round(seconds, 1),
        gpu_seconds=round(seconds, 1) if predictor.device != "cpu" else 0.0,
        evaluations=[evaluation],
        run=Run(
            hyperparameters={"batch_size": evaluator.batch_size},
            versions={
                "byoc-vision": __version__,
                "python": sys.version.partition(" ")[0],
                "torch": str(torch.__version__),
            },
            hardware=str(find_gpus()),
            device=predictor.device,
            precision=predictor.engine.name,
            model=config.model.architecture,
            parameters=_parameters(config),
            command=shlex.join(["byoc-vision", *sys.argv[1:]]),
        ),
    )


def _parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(config.model).parameters())
