"""The best model so far: saved in the job's model folder, its predictions kept, tested at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.data.loaders import EvaluationBatch
from byoc_vision.evaluation.epoch_record import EpochRecord, Metrics, metrics_line, named
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.evaluation.predictions import Collector
from byoc_vision.launch.distributed import World, broadcast_buffers, on_rank0
from byoc_vision.paths import MlPaths
from byoc_vision.recipe import mask_choice
from byoc_vision.recipe.linear_probe import LinearProbe
from byoc_vision.training.callback import Callback
from byoc_vision.training.callbacks.run_record import RunRecord
from byoc_vision.training.checkpoint_file import on_cpu
from byoc_vision.training.data_partition import DataPartition
from byoc_vision.training.weight_average import Soup, WeightAverage

logger = logging.getLogger(__name__)

Kept = tuple[ModelConfig, Mapping[str, Tensor]]  # a model's configuration, with its metrics, and its weights


class Measured(NamedTuple):
    """Validation metrics, and the predictions that they are of. averaged: whether of the averaged weights."""

    metrics: Metrics
    collector: Collector
    averaged: bool = False


@dataclass
class BestModel:
    """Every process has one; the main process alone writes.

    net: the network in training. validation: this process's batches. run: gets the evaluations and the test.
    average: of the weights, which may be better than the last ones. soup: of the best epochs.
    chosen_at_end: what of `mask_threshold` and `min_area` is chosen on the validation images.
    """

    paths: MlPaths
    config: ModelConfig
    net: nn.Module
    world: World
    evaluator: Evaluator
    validation: Iterable[EvaluationBatch]
    partition: DataPartition
    seed: int
    run: RunRecord
    callbacks: Callback
    average: WeightAverage | None = None
    soup: Soup | None = None
    chosen_at_end: Sequence[str] = ()
    _has_predictions: bool = False  # of the validation images
    _measured: Measured | None = None

    def validate(self, stopping: Callable[[], bool], epoch: int = 0) -> Measured:
        """Measure the network, and the average of its weights: the better of both. Call it in all processes.

        Once the average was better, it is measured alone: the learning rate falls, so the lead stays, and measuring
        takes much of an epoch. epoch: may become a part of the soup; 0 does not. Raises StopRequestedError as `test`
        does.
        """
        records, objective = self.run.history.records, self.run.history.objective
        last = None if self.average and records and records[-1].averaged else self._measure(stopping)
        averaged = None
        if self.average and self.average.steps:
            with self.average.applied():
                averaged = self._measure(stopping)._replace(averaged=True)
        name = objective.name
        if averaged and (last is None or objective.is_better(averaged.metrics[name], last.metrics[name])):
            last = averaged
        assert last is not None, "there is an average that was better"
        self._measured = last
        if self.soup and epoch and self.world.is_main:
            self.soup.add(epoch, last.metrics[self.soup.objective.name], self._measured_weights())
        return last

    def measure_floor(self, probe: LinearProbe, stopping: Callable[[], bool]) -> Kept:
        """Fit the head as a linear probe, and save it: the best model until an epoch beats it. Then start from it.

        Call it in all processes. Returns and raises as `save` and `validate` do.
        """
        started = time.monotonic()
        loss = probe.fit(stopping)
        self._restart_average()
        metrics = self.validate(stopping).metrics
        history = self.run.history
        floor = history.begin_with(EpochRecord(0, 0.0, loss, metrics, time.monotonic() - started))
        if self.world.is_main:
            logger.info(
                "floor: %s %.4f after %.0f s: a linear classifier on the pretrained features, where training begins",
                history.objective.name,
                metrics[history.objective.name],
                floor.seconds,
            )
        config, weights = self.save(floor)
        kept = config, on_cpu(dict(weights))
        probe.soften()
        self._restart_average()
        return kept

    def save(self, record: EpochRecord) -> Kept:
        """What `validate` measured is the best so far; call it in all processes.

        Returns its configuration, with its metrics, and its weights.
        """
        assert self._measured is not None, "an epoch is evaluated before it is saved"
        self._keep_predictions(self._measured.collector, record.validation)
        self._has_predictions = True
        config = self.config.model_copy(update={"metrics": named("validation", record.validation)})
        weights = self._measured_weights()
        if self.world.is_main:
            artifact.save(self.paths.model, config, dict(weights))
        return config, weights

    def save_unfinished(self) -> None:
        """A job that ends before its first epoch is complete leaves a model, too."""
        if self.world.is_main and self.run.history.best is None:
            artifact.save(self.paths.model, self.config, self.net.state_dict())
            logger.info("No epoch is complete: %s holds the weights as they are, not evaluated", self.paths.model)

    def restore(self, saved: dict[str, object]) -> None:
        """Save the best model of a checkpoint again; call it in all processes."""
        config = ModelConfig.model_validate(saved["card"])
        on_rank0(self.world, lambda: artifact.save(self.paths.model, config, saved["model"]))  # type: ignore[arg-type]

    def measure_again(self, stopping: Callable[[], bool]) -> tuple[Metrics, ModelConfig]:
        """The saved model's metrics on the present validation images, and its configuration with them.

        Call it in all processes. Raises StopRequestedError as `test` does.
        """
        with self._filled(self.weights()):
            metrics = self._evaluate("validation", self.validation, stopping)
            self._has_predictions = True
            config = self.config.model_copy(update={"metrics": named("validation", metrics)})
            if self.world.is_main:
                artifact.save(self.paths.model, config, self.net.state_dict())
        record = self.run.history.replace_best(metrics)
        shown = metrics_line(named("validation", metrics))
        logger.info("The best epoch, %d, measured on this job's validation images: %s", record.epoch, shown)
        return metrics, config

    def weights(self) -> dict[str, Tensor]:
        """Of the saved model; call it in all processes."""
        return on_rank0(self.world, lambda: artifact.load(self.paths.model))[1]

    def test(self, stopping: Callable[[], bool]) -> None:
        """Evaluate the best model on the `test` split, if there is one, and keep its predictions.

        The soup becomes the best model if it is better. The predictions of the validation images are kept, too, if this
        start of the job has not made them.

        Raises:
            StopRequestedError: `stopping` returned True in a process; raised in all of them.
        """
        self._taste_soup(stopping)
        self._choose_masks(stopping)
        missing = self.run.history.best is not None and not self._has_predictions
        samples = self.partition.dataset.test
        if not samples and not missing:
            return
        with self._filled(self.weights()):
            if missing:
                self._evaluate("validation", self.validation, stopping)
            if samples:
                batches = self.evaluator.batches(samples, share=self.partition.shares["test"])
                self.run.test = self._evaluate("test", batches, stopping)
                if self.world.is_main:
                    logger.info(metrics_line(named("test", self.run.test)))

    def collector(self, split: str) -> Collector:
        samples = self.partition.dataset.splits[split]
        return Collector(self.config, samples, split, self.seed, root=self.paths.channels)

    def state_dict(self) -> dict[str, Any]:
        """Of the averages."""
        return {
            "average": self.average.state_dict() if self.average else None,
            "soup": self.soup.state_dict() if self.soup else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Averages that the state does not have begin with the network's present weights."""
        if self.average:
            self.average.load_state_dict(state.get("average"))
        if self.soup:
            self.soup.load_state_dict(state.get("soup"))

    def _restart_average(self) -> None:
        """With the network's present weights."""
        if self.average:
            self.average.load_state_dict(None)

    def _taste_soup(self, stopping: Callable[[], bool]) -> None:
        """Measure the average of the best epochs, and save it if it is better than the best of them."""
        history = self.run.history
        epochs = on_rank0(self.world, lambda: self.soup.epochs if self.soup else [])
        if len(epochs) < 2 or history.best is None:
            return
        assert self.soup is not None, "every process has one, or none"
        with self._filled(on_rank0(self.world, self.soup.average)):
            measured = self._measure(stopping)
            name, listed = history.objective.name, ", ".join(map(str, epochs))
            value, best = measured.metrics[name], history.best.validation[name]
            is_better = history.objective.is_better(value, best)
            if self.world.is_main:
                outcome = "it is the model" if is_better else "the best epoch stays the model"
                logger.info("soup: %s %.4f of epochs %s, %.4f before: %s", name, value, listed, best, outcome)
            if is_better:
                history.soup = epochs
                self._measured = measured
                self.save(history.better_in_the_end(measured.metrics))

    def _choose_masks(self, stopping: Callable[[], bool]) -> None:
        """Choose the threshold and the least area of masks, and save the model with them if its metric rises."""
        history, before = self.run.history, self.config
        if not self.chosen_at_end or history.best is None:
            return
        objective = mask_choice.comparable(history.objective)
        with self._filled(self.weights()):
            if "mask_threshold" in self.chosen_at_end:
                chosen = mask_choice.choose_threshold(self.evaluator, self.validation, objective, stopping)
                self._use(self.config.model_copy(update={"threshold": chosen}))
            if "min_area" in self.chosen_at_end:
                chosen = mask_choice.choose_least_area(self.evaluator, self.validation, objective, stopping)
                self._use(self.config.model_copy(update={"min_area": chosen}))
            self._measured = self._measure(stopping)
            value, best = self._measured.metrics[objective.name], history.best.validation[objective.name]
            is_better = objective.is_better(value, best)
            if self.world.is_main:
                settings = f"mask_threshold={self.config.threshold:g} min_area={self.config.min_area:g}"
                outcome = "the model has them" if is_better else "the model stays as it is"
                logger.info("masks: %s %.4f with %s, %.4f before: %s", objective.name, value, settings, best, outcome)
            if is_better:
                self.save(history.better_in_the_end(self._measured.metrics))
            else:
                self._use(before)

    def _use(self, config: ModelConfig) -> None:
        self.config = self.evaluator.predictor.config = config

    def _measured_weights(self) -> Mapping[str, Tensor]:
        """Those that `validate` returned the metrics of."""
        is_average = self._measured is not None and self._measured.averaged
        return self.average.tensors if self.average and is_average else self.net.state_dict()

    def _measure(self, stopping: Callable[[], bool]) -> Measured:
        broadcast_buffers(self.net, self.world)
        collector = self.collector("validation")
        return Measured(self.evaluator.evaluate(self.validation, stopping, collector), collector)

    def _evaluate(self, split: str, batches: Iterable[EvaluationBatch], stopping: Callable[[], bool]) -> Metrics:
        collector = self.collector(split)
        metrics = self.evaluator.evaluate(batches, stopping, collector)
        self._keep_predictions(collector, metrics)
        return metrics

    def _keep_predictions(self, collector: Collector, metrics: Metrics) -> None:
        best = self.run.history.best
        collected = collector.gather(metrics, self.world, best.epoch if best else None)
        if collected:
            self.run.evaluations[collected.evaluation.split] = collected.evaluation
            self.callbacks.predictions_kept(collected)

    @contextmanager
    def _filled(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Within the context the network has these weights: a checkpoint continues from the last ones."""
        last = on_cpu(self.net.state_dict())
        self.net.load_state_dict(weights)
        try:
            yield
        finally:
            self.net.load_state_dict(last)
