"""What a model is worth: its figures on labelled images, through the same Predictor that serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.cache import CachePart
from byoc_vision.data.formats import read_folder
from byoc_vision.data.image_dataset import EvaluationDataset
from byoc_vision.data.loaders import EvaluationBatch, build_evaluation_loader
from byoc_vision.data.preflight import check_labelled
from byoc_vision.data.samples import DataOptions, OnBadSample, Sample
from byoc_vision.errors import InputError
from byoc_vision.inference.predictor import Predictor
from byoc_vision.training.distributed import Share, World, processes_per_host
from byoc_vision.training.history import Figures
from byoc_vision.training.step import Metrics, Onlooker, evaluate
from byoc_vision.types import ClassInfo


@dataclass(frozen=True)
class Evaluator:
    """Measures a predictor on labelled images, as often as asked.

    mask_values: all that a mask may hold; one with others cannot be used. None: other values are not counted.
    """

    predictor: Predictor
    classes: Sequence[ClassInfo]
    batch_size: int
    loss: nn.Module | None = None
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
        """This process's share of the samples; to be kept, since its worker processes stay.

        share: by default all processes share out the samples.
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
        collector: Onlooker | None = None,
    ) -> Figures:
        """The metrics, and the mean loss where there is one, over all processes' batches, the same in each process.

        collector: is shown each of this process's answers.
        Raises StopRequestedError in all processes where `stopping` says so in any.
        """
        metrics = build_metrics(self.predictor.config, self.top_k)
        return evaluate(self.predictor, batches, metrics, self.world, self.loss, stopping, collector)


def build_metrics(config: ModelConfig, top_k: int | None = None) -> Metrics:
    """The figures of the model config's kind of answers."""
    # Imported once there is something to measure: torchmetrics takes seconds, the first step need not wait for it.
    from byoc_vision.training.metrics import ClassificationMetrics, MultiLabelMetrics, SegmentationMetrics

    if config.task == "segmentation":
        return SegmentationMetrics(config.class_names)
    if config.activation == "sigmoid":
        return MultiLabelMetrics(config.class_names, config.threshold)
    return ClassificationMetrics(config.class_names, top_k)


def check_top_k(top_k: int | None, config: ModelConfig) -> None:
    """Raises InputError where answers have no order, or all classes are among the first k."""
    if top_k is None:
        return
    if config.task == "segmentation" or config.activation == "sigmoid":
        raise InputError(f"top_k={top_k} is for images with one class each; leave it out")
    if top_k >= len(config.classes):
        raise InputError(f"top_k={top_k} of {len(config.classes)} classes is always right; take less, or leave it out")


def with_labels(sample: Sample) -> Sample:
    """One class, as class folders give it, as the list of classes that it is to a model which answers each of them."""
    return sample if sample.label is None else replace(sample, label=None, labels=(sample.label,))


def evaluate_folder(model: Path, folder: Path, batch_size: int = 16) -> Figures:
    """The figures of a saved model on a folder of labelled images.

    Raises DataError and InputError that name what does not fit: the model, the layout, an image, a class.
    """
    evaluator, samples = evaluator_for(model, folder, batch_size)
    return evaluator.evaluate(evaluator.batches(samples))


def evaluator_for(model: Path, folder: Path, batch_size: int) -> tuple[Evaluator, tuple[Sample, ...]]:
    """What measures a saved model on a folder, and the samples there. Raises as `evaluate_folder` does."""
    predictor = Predictor.load(model)
    config = predictor.config
    classes = config.classes
    several = config.task == "classification" and config.activation == "sigmoid"
    samples = read_folder(folder.absolute(), config.model.task, classes, DataOptions(multi_label=several))
    if several:
        samples = tuple(map(with_labels, samples))
    check_labelled(samples, classes)
    return Evaluator(predictor, classes, batch_size), samples
