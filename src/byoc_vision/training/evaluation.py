"""What a model is worth: its figures on labelled pictures, through the same Predictor that serves it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from byoc_vision.artifact import ModelCard
from byoc_vision.data.layouts import read_folder
from byoc_vision.data.loaders import EvaluationBatch, build_evaluation_loader
from byoc_vision.data.pictures import EvaluationDataset
from byoc_vision.data.preflight import check_labelled
from byoc_vision.data.samples import DataClass, Sample
from byoc_vision.inference.predictor import Predictor
from byoc_vision.training.distribution import World, processes_per_host
from byoc_vision.training.fit import Figures
from byoc_vision.training.loop import Metrics, evaluate
from byoc_vision.training.metrics import ClassificationMetrics, SegmentationMetrics


@dataclass(frozen=True)
class Evaluator:
    """Measures a predictor on labelled pictures, as often as asked."""

    predictor: Predictor
    classes: Sequence[DataClass]
    batch_size: int
    loss: nn.Module | None = None
    workers: int | None = None
    world: World = field(default_factory=World)

    def batches(self, samples: Sequence[Sample]) -> Iterable[EvaluationBatch]:
        """The samples, shared out over all processes; to be kept, since its worker processes stay."""
        return build_evaluation_loader(
            EvaluationDataset(samples, self.classes, self.predictor.card.preprocess),
            self.batch_size,
            workers=self.workers,
            rank=self.world.rank,
            world_size=self.world.size,
            local_world_size=processes_per_host(),
            on_gpu=self.predictor.device.type == "cuda",
        )

    def evaluate(self, batches: Iterable[EvaluationBatch]) -> Figures:
        """The metrics, and the mean loss where there is one, over all processes' batches, the same in each process."""
        return evaluate(self.predictor, batches, build_metrics(self.predictor.card), self.world, self.loss)


def build_metrics(card: ModelCard) -> Metrics:
    if card.task == "classification":
        return ClassificationMetrics(card.class_names)
    return SegmentationMetrics(card.class_names)


def evaluate_folder(model: Path, folder: Path, batch_size: int = 16) -> Figures:
    """The figures of a saved model on a folder of labelled pictures.

    Raises DataError and InputError that name what does not fit: the model, the layout, a picture, a class.
    """
    predictor = Predictor.load(model)
    card = predictor.card
    classes = tuple(DataClass(entry.name, entry.value) for entry in card.classes)
    samples = read_folder(folder.absolute(), card.model.task, classes)
    check_labelled(samples, classes)
    evaluator = Evaluator(predictor, classes, batch_size)
    return evaluator.evaluate(evaluator.batches(samples))
