"""Curves, images and histograms for TensorBoard, in /opt/ml/output/tensorboard."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from byoc_vision.report.record import IMAGES_FOLDER, Evaluation, Example, Record
from byoc_vision.training.callback import Callback
from byoc_vision.training.callbacks.run_record import epoch_metrics, final_metrics, parameters
from byoc_vision.training.callbacks.step_timer import StepLosses

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

MOST_IMAGES = 8  # of a gallery
STEP_LOSS = "train/step_loss"
STEP_LOSS_EVERY = 50  # steps

logger = logging.getLogger(__name__)


class TensorBoard(Callback):
    """Writes below `folder`; all axes count the steps of the whole job, so an epoch is shown at its last step.

    images: output/data, which holds the galleries' images. histograms: the network whose weights are to be shown.
    What an earlier start wrote of later steps, which are made again, is hidden.
    """

    def __init__(
        self,
        folder: Path,
        images: Path,
        *,
        steps_per_epoch: int,
        device: torch.device,
        histograms: nn.Module | None = None,
    ) -> None:
        self._folder = folder
        self._images = images / IMAGES_FOLDER
        self._steps_per_epoch = steps_per_epoch
        self._histograms = histograms
        self._step = 0
        self._resumed_at: int | None = None  # steps that earlier starts made
        self._losses: list[Tensor] = []  # of the batches of the step
        self._step_losses = StepLosses(device)
        self._writer: SummaryWriter | None = None
        self._shown: set[tuple[str, int | None]] = set()
        self._began = self._broken = False

    def train_begin(self, record: Record) -> None:
        """What an earlier start wrote of its epochs is there."""
        self._step = len(record.epochs) * self._steps_per_epoch
        self._began = True
        self._shown = {(evaluation.split, evaluation.epoch) for evaluation in record.evaluations}

    def epoch_begin(self, epoch: int, step: int) -> None:
        self._step = (epoch - 1) * self._steps_per_epoch + step
        if self._resumed_at is None:
            self._resumed_at = self._step

    def step_begin(self) -> None:
        self._step += 1

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        if self._step % STEP_LOSS_EVERY == 0:
            self._losses.append(loss.detach())

    def step_end(self) -> None:
        if self._losses:
            self._write_step_losses()
            self._step_losses.put(self._step, torch.stack(self._losses).mean())
            self._losses.clear()

    def epoch_end(self, record: Record) -> None:
        epoch = record.epochs[-1]
        step = epoch.epoch * self._steps_per_epoch
        self._write_step_losses()
        with self._writing() as writer:
            if writer is None:
                return
            for name, value in {"epoch": float(epoch.epoch), **epoch_metrics(epoch)}.items():
                writer.add_scalar(name, value, step)
            for name, weight in self._histograms.named_parameters() if self._histograms else ():
                writer.add_histogram(f"weights/{name}", weight.detach().float().cpu(), step)
            self._show_new(writer, record)
            writer.flush()

    def train_end(self, record: Record) -> None:
        if not self._began:
            return  # a job that failed before it trained does not hide the curves of an earlier start
        self._write_step_losses()
        with self._writing() as writer:
            if writer is None:
                return
            self._show_new(writer, record)
            self._sum_up(writer, record)
            writer.close()

    def _write_step_losses(self) -> None:
        for step, loss in self._step_losses.take(wait=True):
            with self._writing() as writer:
                if writer is not None:
                    writer.add_scalar(STEP_LOSS, loss, step)

    def _sum_up(self, writer: SummaryWriter, record: Record) -> None:
        """The hyperparameters with the final metrics. SummaryWriter.add_hparams would make another run of them."""
        from torch.utils.tensorboard.summary import hparams

        metrics = final_metrics(record)
        for name, value in metrics.items():
            writer.add_scalar(name, value, len(record.epochs) * self._steps_per_epoch)
        for summary in hparams(parameters(record), metrics):  # type: ignore[no-untyped-call]
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
        """Image, target and prediction, those that exist: uint8 [H, W, 3]."""
        files = [self._images / name for name in (example.image, example.target, example.prediction) if name]
        opened = [Image.open(file).convert("RGB") for file in files if file.is_file()]
        if not opened:
            return None
        return np.concatenate([np.asarray(image.resize(opened[0].size)) for image in opened], axis=1)

    @contextmanager
    def _writing(self) -> Iterator[SummaryWriter | None]:
        """The writer; None if it failed."""
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

            # An earlier job in the same folder is hidden whole if this one starts from its first step.
            done = self._step if self._resumed_at is None else self._resumed_at
            purged = done + 1 if done else 0
            try:
                self._writer = SummaryWriter(str(self._folder), purge_step=purged)
            except OSError as error:
                self._give_up(error)
        return self._writer

    def _give_up(self, error: OSError) -> None:
        self._writer, self._broken = None, True
        logger.warning("TensorBoard's files in %s are no longer written: %s", self._folder, error)


def _table(gallery: list[Example]) -> str:
    """A Markdown table: each image, its target and its prediction."""
    rows = ["| | file | target | prediction | |", "| --- | --- | --- | --- | --- |"]
    for place, example in enumerate(gallery, start=1):
        value = example.score if example.score is not None else example.probability
        shown = "" if value is None else f"{value:.3f}"
        rows.append(
            f"| {place} | {example.file} | {', '.join(example.actual)} | {', '.join(example.predicted)} | {shown} |"
        )
    return "\n".join(rows)
