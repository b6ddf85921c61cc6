"""metrics.json after each epoch, the predictions of the best model, and the page made of both.

What cannot be written costs a warning: the job continues, and its model counts. Only metrics.json must be there when
the job ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byoc_vision.atomic_write import written_or_named
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.errors import UserError
from byoc_vision.evaluation.predictions import SplitPredictions, write_predictions
from byoc_vision.evaluation.thumbnails import write_augmented
from byoc_vision.report.record import RECORD_FILE, Record, read_record, write_record
from byoc_vision.training.callback import Callback
from byoc_vision.types import ClassInfo

RENDERING_SHARE = 0.02  # of a job's time, for its page

logger = logging.getLogger(__name__)


def add_to_record(folder: Path, *, page: bool, **values: Any) -> None:
    """Put into a job's record and page what is known after its training. It is optional: an error costs a warning."""
    try:
        write_record(folder, read_record(folder).model_copy(update=values))
        if page:
            from byoc_vision.report.page import write_report

            write_report(folder)
    except (OSError, UserError) as error:
        logger.warning("The report does not show %s: %s", ", ".join(values), error)


class RunReport(Callback):
    """Writes into `folder`, in the main process.

    images: to train on, some of which are shown as the model sees them; None for none.
    page: whether report.html is written.
    """

    def __init__(
        self,
        folder: Path,
        classes: tuple[ClassInfo, ...],
        images: ImageDataset | None = None,
        *,
        page: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._classes = classes
        self._images = images
        self._page = page
        self._clock = clock
        self._predictions: dict[str, SplitPredictions] = {}
        self._augmented: list[str] | None = None
        self._rendered: float | None = None  # when the page was written last
        self._rendering = 0.0  # seconds that took

    def predictions_kept(self, collected: SplitPredictions) -> None:
        self._predictions[collected.evaluation.split] = collected
        self._or_warn(lambda: write_predictions(self._folder, list(self._predictions.values())))

    def epoch_end(self, record: Record) -> None:
        """Write the page again only if enough time has passed since."""
        if self._augmented is None:
            self._augmented = []
            self._or_warn(self._write_augmented)
        self._or_warn(lambda: self._write(record))
        if self._rendered is None or self._clock() - self._rendered >= self._rendering / RENDERING_SHARE:
            self._render()

    def train_end(self, record: Record) -> None:
        """Raises ResourceError if metrics.json cannot be written, unless the job failed: its own error matters more."""
        if record.state == "failed":
            self._or_warn(lambda: self._write(record))
        else:
            with written_or_named(self._folder / RECORD_FILE):
                self._write(record)
        self._render()

    def _write(self, record: Record) -> None:
        write_record(self._folder, record.model_copy(update={"augmented": self._augmented or []}))

    def _write_augmented(self) -> None:
        if self._images is not None:
            self._augmented = write_augmented(self._folder, self._images, self._classes)

    def _render(self) -> None:
        if not self._page:
            return
        # Imported when there is something to show: the first step need not wait for it.
        from byoc_vision.report.page import write_report

        began = self._clock()
        self._or_warn(lambda: write_report(self._folder))
        self._rendered = self._clock()
        self._rendering = self._rendered - began

    @staticmethod
    def _or_warn(write: Callable[[], Any]) -> None:
        try:
            write()
        except (OSError, UserError) as error:
            logger.warning("The report of the job so far could not be written: %s", error)
        except Exception:  # hours of training are worth more than a page about them
            logger.exception("The report of the job so far could not be written: internal error, please report it")
