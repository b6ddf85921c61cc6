"""Rules of whole epochs: is it learning, and does what it learns hold for other images?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from byoc_vision.training.callbacks.health.facts import EpochFacts, EpochFigures
from byoc_vision.training.callbacks.health.rule import Rule, Sign, Threshold


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
    """The validation loss lies far above the training loss and above its own best, while the training loss falls."""

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
    def _gap(record: EpochFigures) -> float:
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
        figures = [record.validation.get(facts.objective, math.nan) for record in last]
        if not (_is_flat(losses, self.share) and _is_flat(figures, self.share)):
            return None
        return Sign(
            f"in {len(last)} epochs the training loss stayed within {min(losses):.4g}–{max(losses):.4g}, "
            f"{facts.objective} within {min(figures):.4g}–{max(figures):.4g}"
        )


def validation_losses(epochs: Sequence[EpochFigures]) -> list[float]:
    """One an epoch; none where not all have one that is a number."""
    losses = [record.validation.get("loss", math.nan) for record in epochs]
    return losses if all(map(math.isfinite, losses)) else []


def _improves(figures: Sequence[float], since: int, mode: str) -> bool:
    """Whether the best of all came after epoch number `since`, from 0."""
    signed = [figure if mode == "max" else -figure for figure in figures]
    return max(signed[since + 1 :], default=-math.inf) > max(signed[: since + 1], default=-math.inf)


def _is_flat(values: Sequence[float], share: float) -> bool:
    """Whether the values hardly differ; a figure that is still rising step by step is not flat."""
    if not all(map(math.isfinite, values)):
        return False
    rising = all(one < other for one, other in pairwise(values)) or all(one > other for one, other in pairwise(values))
    middle = sum(map(abs, values)) / len(values)
    return max(values) - min(values) <= share * middle and not (rising and len(values) > 2)


RULES: tuple[type[Rule[EpochFacts]], ...] = (LossNotDecreasing, Overfit, Overtraining, Plateau)
