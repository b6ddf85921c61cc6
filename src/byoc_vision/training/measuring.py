"""The best model, measured once more when all is trained."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from byoc_vision import artifact
from byoc_vision.training.distributed import on_first
from byoc_vision.training.history import Figures, figures_line, named
from byoc_vision.training.packing import on_cpu
from byoc_vision.training.session import Session
from byoc_vision.training.data_partition import Work

logger = logging.getLogger(__name__)


def measure_best(session: Session, work: Work) -> Figures | None:
    """The best model's figures on the `test` channel, where there is one. Its answers are kept, those to the
    validation images too, where this start of the job has not seen them. Raises StopRequestedError in all processes.
    """
    answers_are_missing = session.history.best is not None and not session.answered
    if not work.dataset.test and not answers_are_missing:
        return None
    with best_weights(session):
        if answers_are_missing:
            measure(session, work, "validation")
        if not work.dataset.test:
            return None
        figures = measure(session, work, "test")
    logger.info(figures_line(named("test", figures)))
    return figures


@contextmanager
def best_weights(session: Session) -> Iterator[None]:
    """The network is the best model for a while: a checkpoint goes on from the last epoch, not from the best."""
    net, resting = session.trainer.net, on_cpu(session.trainer.net.state_dict())
    _, best = on_first(session.trainer.world, lambda: artifact.load(session.paths.model))
    net.load_state_dict(best)
    try:
        yield
    finally:
        net.load_state_dict(resting)


def measure(session: Session, work: Work, split: str) -> Figures:
    """The figures of the network as it is on all images of a split, its answers kept."""
    trainer, collector, best = session.trainer, session.collector(split), session.history.best
    if split == "validation":
        batches = trainer.validation  # its processes and its cache are there
    else:
        batches = trainer.evaluator.batches(work.dataset.splits[split], share=work.shares[split])
    figures = trainer.evaluator.evaluate(batches, lambda: session.interruption.requested, collector)
    session.keep_answers(collector, figures, best.epoch if best else None)
    return figures
