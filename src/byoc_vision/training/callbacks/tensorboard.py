"""Curves, images and histograms for TensorBoard, in /opt/ml/output/tensorboard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from byoc_vision.report.record import IMAGES_FOLDER, Evaluation, Example, Record
from byoc_vision.training.callbacks.record_metrics import epoch_figures, final_figures, parameters
from byoc_vision.training.callbacks.step_losses import StepLosses

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

MOST_IMAGES = 8  # of a gallery
STEP_LOSS = "train/step_loss"

logger = logging.getLogger(__name__)

Weights = Callable[[], Iterable[tuple[str, Tensor]]]


class TensorBoardTracker:
    """Writes below `folder`; all axes count the steps of the whole job, so an epoch stands at its last step.

    images: output/data, which holds the galleries' images. done: steps that an earlier start has made; what it
    wrote of later ones, which come again, is hidden. weights: where histograms are wanted.
    """

    def __init__(
        self, folder: Path, images: Path, *, steps_per_epoch: int, done: int = 0, weights: Weights | None = None
    ) -> None:
        self.step_losses = StepLosses(self._step_loss, done)
        self._folder = folder
        self._images = images / IMAGES_FOLDER
        self._steps_per_epoch = steps_per_epoch
        self._done = done
        self._weights = weights
        self._writer: SummaryWriter | None = None
        self._shown: set[tuple[str, int | None]] = set()
        self._broken = False

    def begin(self, record: Record) -> None:
        """What an earlier start has written of its epochs lies there already."""
        self._shown = {(evaluation.split, evaluation.epoch) for evaluation in record.evaluations}

    def epoch(self, record: Record) -> None:
        epoch = record.epochs[-1]
        step = epoch.epoch * self._steps_per_epoch
        with self._writing() as writer:
            if writer is None:
                return
            self.step_losses.flush()
            for name, value in {"epoch": float(epoch.epoch), **epoch_figures(epoch)}.items():
                writer.add_scalar(name, value, step)
            for name, weight in self._weights() if self._weights else ():
                writer.add_histogram(f"weights/{name}", weight.detach().float().cpu(), step)
            self._show_new(writer, record)
            writer.flush()

    def end(self, record: Record, folder: Path) -> None:
        with self._writing() as writer:
            if writer is None:
                return
            self.step_losses.flush()
            self._show_new(writer, record)
            self._sum_up(writer, record)
            writer.close()

    def _step_loss(self, step: int, loss: float) -> None:
        with self._writing() as writer:
            if writer is not None:
                writer.add_scalar(STEP_LOSS, loss, step)

    def _sum_up(self, writer: SummaryWriter, record: Record) -> None:
        """The hyperparameters with the final figures. SummaryWriter.add_hparams would make a run of its own of them."""
        from torch.utils.tensorboard.summary import hparams

        figures = final_figures(record)
        for name, value in figures.items():
            writer.add_scalar(name, value, len(record.epochs) * self._steps_per_epoch)
        for summary in hparams(parameters(record), figures):  # type: ignore[no-untyped-call]
            writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]

    def _show_new(self, writer: SummaryWriter, record: Record) -> None:
        for evaluation in record.evaluations:
            if (evaluation.split, evaluation.epoch) not in self._shown:
                self._shown.add((evaluation.split, evaluation.epoch))
                step = (evaluation.epoch or len(record.epochs)) * self._steps_per_epoch
                self._show(writer, evaluation, step)

    def _show(self, writer: SummaryWriter, evaluation: Evaluation, step: int) -> None:
        for name, gallery in evaluation.galleries.items():
            shown = gallery[:MOST_IMAGES]
            for place, example in enumerate(shown, start=1):
                image = self._side_by_side(example)
                if image is not None:
                    writer.add_image(f"{evaluation.split}_{name}/{place}", image, step, dataformats="HWC")
            writer.add_text(f"{evaluation.split}_{name}", _table(shown), step)

    def _side_by_side(self, example: Example) -> np.ndarray | None:
        """Image, target and prediction, as far as they are there: uint8 [H, W, 3]."""
        files = [self._images / name for name in (example.image, example.target, example.prediction) if name]
        opened = [Image.open(file).convert("RGB") for file in files if file.is_file()]
        if not opened:
            return None
        return np.concatenate([np.asarray(image.resize(opened[0].size)) for image in opened], axis=1)

    @contextmanager
    def _writing(self) -> Iterator[SummaryWriter | None]:
        """The writer; None once it has failed."""
        writer = self._opened()
        try:
            yield writer
        except OSError as error:
            self._give_up(error)

    def _opened(self) -> SummaryWriter | None:
        """The writer, made when it is first needed."""
        if self._writer is None and not self._broken:
            # Imported here: a job without TensorBoard need not wait for it.
            from torch.utils.tensorboard import SummaryWriter

            # All of an earlier job in the same folder is hidden, where this one begins anew.
            purged = self._done + 1 if self._done else 0
            try:
                self._writer = SummaryWriter(str(self._folder), purge_step=purged)
            except OSError as error:
                self._give_up(error)
        return self._writer

    def _give_up(self, error: OSError) -> None:
        self._writer, self._broken = None, True
        logger.warning("TensorBoard's files in %s are no longer written: %s", self._folder, error)


def _table(gallery: list[Example]) -> str:
    """A Markdown table: what each image is, and what it was taken for."""
    rows = ["| | file | target | prediction | |", "| --- | --- | --- | --- | --- |"]
    for place, example in enumerate(gallery, start=1):
        figure = example.score if example.score is not None else example.probability
        shown = "" if figure is None else f"{figure:.3f}"
        rows.append(
            f"| {place} | {example.file} | {', '.join(example.actual)} | {', '.join(example.predicted)} | {shown} |"
        )
    return "\n".join(rows)
