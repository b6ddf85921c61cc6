"""Rules of the data, of single steps and of whole epochs: does the network learn, and for other images, too?"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from byoc_vision.evaluation.epoch_record import EpochRecord
from byoc_vision.health.facts import DataFacts, EpochFacts, Look, Silence, StepFacts
from byoc_vision.health.rule import Rule, Sign, Threshold

_REMEMBERED = 50  # losses, for the usual one


class LossNotDecreasing(Rule[EpochFacts]):
    """The training loss has not come down since the first epoch."""

    facts = EpochFacts
    evidence = "the training loss of the first epoch, and the lowest since"
    remedy = "try learning_rate ten times lower, then ten times higher; see that masks or labels belong to their images"
    epochs = Threshold(3, "epochs before it is judged")
    share = Threshold(0.02, "by how much of the first epoch's loss it must have come down")

    def judge(self, facts: EpochFacts) -> Sign | None:
        losses = [record.train_loss for record in facts.epochs]
        if len(losses) < self.epochs or losses[0] <= 0:
            return None
        lowest = min(losses[1:], default=losses[0])
        if lowest <= losses[0] * (1 - self.share):
            return None
        return Sign(f"the training loss was {losses[0]:.4g} in epoch 1, and {lowest:.4g} at the lowest since")


class Overfit(Rule[EpochFacts]):
    """The validation loss is far above the training loss and above its own best, while the training loss falls."""

    facts = EpochFacts
    evidence = "both losses of the last epoch, and the best validation loss"
    remedy = (
        "more images, augmentation=strong, a smaller model, weight_decay or dropout_rate; the best epoch is kept "
        "in any case"
    )
    ratio = Threshold(0.5, "the gap between the losses, as a share of the training loss")
    rise = Threshold(0.05, "the validation loss above its best, as a share of that")
    epochs = Threshold(3, "epochs in a row")

    def judge(self, facts: EpochFacts) -> Sign | None:
        last = facts.epochs[-int(self.epochs) :]
        losses = validation_losses(facts.epochs)
        if len(facts.epochs) <= self.epochs or not losses:
            return None
        best, (train, validation) = min(losses), (last[-1].train_loss, losses[-1])
        apart = all(self._gap(record) > self.ratio for record in last)
        above = all(record.validation["loss"] > best * (1 + self.rise) for record in last)
        if not (apart and above and train < facts.epochs[0].train_loss):
            return None
        return Sign(
            f"the validation loss is {validation:.4g} and was {best:.4g} at its best, the training loss is {train:.4g}",
            severity=self._gap(last[-1]),
        )

    @staticmethod
    def _gap(record: EpochRecord) -> float:
        return (record.validation["loss"] - record.train_loss) / max(record.train_loss, 1e-12)


class Overtraining(Rule[EpochFacts]):
    """Validation has been getting worse for epochs, and early stopping is not asked for."""

    facts = EpochFacts
    evidence = "the epoch with the lowest validation loss, its loss and the last one's"
    remedy = "set early_stopping=true, or epochs to those that helped"
    epochs = Threshold(5, "epochs since the lowest validation loss")
    rise = Threshold(0.1, "the last validation loss above the lowest, as a share of that")

    def judge(self, facts: EpochFacts) -> Sign | None:
        losses = validation_losses(facts.epochs)
        if facts.stops_early or not losses:
            return None
        best = losses.index(min(losses))
        since = len(losses) - 1 - best
        risen = losses[-1] > losses[best] * (1 + self.rise)
        objective = [record.validation.get(facts.objective, math.nan) for record in facts.epochs]
        gained = _improves(objective, best, facts.mode)
        if since < self.epochs or not risen or gained:
            return None
        return Sign(
            f"the validation loss was {losses[best]:.4g} in epoch {best + 1} and is {losses[-1]:.4g} {since} epochs on"
            f", with no better {facts.objective}",
            severity=float(since),
        )


class Plateau(Rule[EpochFacts]):
    """Neither the training loss nor the objective moves, at a learning rate that should move them."""

    facts = EpochFacts
    evidence = "the least and the most of both over these epochs"
    remedy = (
        "fewer epochs would do as well; to get further change the learning_rate, or take a larger model or image_size"
    )
    epochs = Threshold(5, "epochs in a row")
    share = Threshold(0.005, "how little both move, as a share of their mean")
    rate = Threshold(0.1, "judged only at learning rates above this share of the highest")

    def judge(self, facts: EpochFacts) -> Sign | None:
        last = facts.epochs[-int(self.epochs) :]
        rates = [record.learning_rate for record in facts.epochs]
        if len(facts.epochs) <= self.epochs or facts.is_last() or rates[-1] < self.rate * max(rates):
            return None
        losses = [record.train_loss for record in last]
        values = [record.validation.get(facts.objective, math.nan) for record in last]
        if not (_is_flat(losses, self.share) and _is_flat(values, self.share)):
            return None
        return Sign(
            f"in {len(last)} epochs the training loss stayed within {min(losses):.4g}–{max(losses):.4g}, "
            f"{facts.objective} within {min(values):.4g}–{max(values):.4g}"
        )


class LossSpike(Rule[StepFacts]):
    """The loss of one step is far above the usual one, and above where the training began."""

    facts = StepFacts
    evidence = "the step's loss, and the median of the fifty before"
    remedy = "lower learning_rate, set clip_grad_norm=1, or warmup_epochs=1; a spike at one image means a wrong label"
    times = Threshold(4, "the loss, in medians of the steps before")
    steps = Threshold(20, "steps before it is judged")

    def __init__(self, settings: Mapping[str, float] | None = None) -> None:
        super().__init__(settings)
        self._last: deque[float] = deque(maxlen=_REMEMBERED)
        self._highest_usual = 0.0  # the median of the first steps: the loss of random predictions

    def judge(self, facts: StepFacts) -> Sign | None:
        if not math.isfinite(facts.loss):
            return None  # ExplodingTensor's
        if len(self._last) < self.steps:
            self._last.append(facts.loss)
            self._highest_usual = statistics.median(self._last)
            return None
        usual = statistics.median(self._last)
        self._last.append(facts.loss)
        if facts.loss <= self.times * usual or facts.loss <= 1.5 * self._highest_usual:
            return None
        return Sign(f"the loss is {facts.loss:.4g}, usual were {usual:.4g}", severity=facts.loss / max(usual, 1e-12))


class StalledTraining(Rule[Silence]):
    """No step has ended for very long."""

    facts = Silence
    evidence = "how long, and the line that the training is at"
    remedy = (
        "see that line: reading files means storage or a loader process that hangs (num_workers=0 shows its error), a "
        "collective means that another process or host is gone"
    )
    seconds = Threshold(1800, "seconds without a step or a validated batch")

    def judge(self, facts: Silence) -> Sign | None:
        if facts.seconds < self.seconds:
            return None
        return Sign(f"no step has ended for {facts.seconds:.0f} s; the training stands in {facts.where}", facts.seconds)


class MaxInitializationTime(Rule[StepFacts]):
    """The first step came late."""

    facts = StepFacts
    evidence = "the minutes from the start of the process to the end of its first step"
    remedy = (
        "with File mode the data are copied first: FastFile mode starts at once; archives and very many small files "
        "take long to list, RecordIO does not"
    )
    minutes = Threshold(20, "minutes")

    def judge(self, facts: StepFacts) -> Sign | None:
        if facts.start_seconds is None or facts.start_seconds <= 60 * self.minutes:
            return None
        return Sign(f"the first step ended {facts.start_seconds / 60:.1f} minutes after the start")


class StepOutlier(Rule[EpochFacts]):
    """Some steps of an epoch took far longer than the others, and together too much of its time."""

    facts = EpochFacts
    evidence = "how many steps, the usual time of one, the longest, and their share of the epoch"
    remedy = (
        "see the slowest steps in the report: waiting for data means storage that stutters or images of very "
        "different sizes; other work on the machine slows steps too"
    )
    times = Threshold(3, "an outlier's time, in medians of all steps")
    share = Threshold(0.1, "the time lost in outliers, as a share of all steps")
    steps = Threshold(20, "steps that an epoch must have")

    def judge(self, facts: EpochFacts) -> Sign | None:
        seconds = facts.step_seconds
        if len(seconds) < self.steps:
            return None
        usual = statistics.median(seconds)
        slow = [one for one in seconds if one > self.times * usual]
        lost = sum(one - usual for one in slow)
        if lost <= self.share * sum(seconds):
            return None
        return Sign(
            f"{len(slow)} of {len(seconds)} steps took longer than {self.times * usual:.3g} s, where {usual:.3g} s is "
            f"usual, the longest {max(slow):.3g} s: {lost / sum(seconds):.0%} of the steps' time",
            severity=lost / sum(seconds),
        )


class ClassImbalance(Rule[DataFacts]):
    """The largest class has many times the training images (or pixels) of the rarest, and nothing makes up for it."""

    facts = DataFacts
    evidence = "both classes, and what they have"
    remedy = "set class_weights=balanced, or for images with one class each sampling=balanced"
    ratio = Threshold(10, "the largest class in terms of the rarest: images (classification)")
    pixels = Threshold(100, "the same in pixels (segmentation)")

    def judge(self, facts: DataFacts) -> Sign | None:
        seen = sorted((amount, name) for name, amount in facts.amounts.items() if amount)
        if facts.balanced or len(seen) < 2:
            return None
        (least, rarest), (most, largest) = seen[0], seen[-1]
        if most <= (self.pixels if facts.task == "segmentation" else self.ratio) * least:
            return None
        shown = (
            f"{most:.1%} of the pixels are {largest}, {least:.2%} are {rarest}"
            if facts.task == "segmentation"
            else f"{largest} has {most:,.0f} training images, {rarest} {least:,.0f}"
        )
        return Sign(shown, severity=most / least)


class CheckInputImages(Rule[Look]):
    """The normalised images lie far from 0, or hardly vary: the network sees other values than it is made for."""

    facts = Look
    evidence = "mean and standard deviation of each channel, as the network sees it"
    remedy = (
        "see the images themselves: black, inverted, of 16 bits in an 8-bit range, or scaled twice; images of one "
        "odd kind are learned best with pretrained=false"
    )
    mean = Threshold(1.5, "the distance of a channel's mean from 0, in standard deviations of the normalisation")
    std = Threshold(0.05, "the least standard deviation of a channel")

    def judge(self, facts: Look) -> Sign | None:
        far = max(map(abs, facts.mean), default=0.0)
        flat = min(facts.std, default=1.0)
        if far <= self.mean and flat >= self.std:
            return None
        shown = ", ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in zip(facts.mean, facts.std, strict=True))
        return Sign(f"after normalisation red, green and blue are {shown}, and should be near 0 ± 1", severity=far)


def validation_losses(epochs: Sequence[EpochRecord]) -> list[float]:
    """One per epoch; none if some epochs have none that is a number."""
    losses = [record.validation.get("loss", math.nan) for record in epochs]
    return losses if all(map(math.isfinite, losses)) else []


def _improves(values: Sequence[float], since: int, mode: str) -> bool:
    """Whether the best of all came after epoch number `since`, from 0."""
    signed = [value if mode == "max" else -value for value in values]
    return max(signed[since + 1 :], default=-math.inf) > max(signed[: since + 1], default=-math.inf)


def _is_flat(values: Sequence[float], share: float) -> bool:
    """Whether the values hardly differ; a metric that still rises step by step is not flat."""
    if not all(map(math.isfinite, values)):
        return False
    rising = all(one < other for one, other in pairwise(values)) or all(one > other for one, other in pairwise(values))
    middle = sum(map(abs, values)) / len(values)
    return max(values) - min(values) <= share * middle and not (rising and len(values) > 2)


RULES: tuple[type[Rule[Any]], ...] = (
    LossNotDecreasing,
    Overfit,
    Overtraining,
    Plateau,
    LossSpike,
    StalledTraining,
    MaxInitializationTime,
    StepOutlier,
    ClassImbalance,
    CheckInputImages,
)
