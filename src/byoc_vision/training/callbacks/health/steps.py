"""Rules of single steps: what they cost, and how long they take."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping

from byoc_vision.training.callbacks.health.facts import EpochFacts, Silence, StepFacts
from byoc_vision.training.callbacks.health.rule import Rule, Sign, Threshold

_REMEMBERED = 50  # losses, for the usual one


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
        self._highest_usual = 0.0  # the median of the first steps: what random answers cost

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
    evidence = "how long, and the line that the training stands in"
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
            f"{len(slow)} of {len(seconds)} steps took longer than {self.times * usual:.3g} s where {usual:.3g} s is "
            f"usual, the longest {max(slow):.3g} s: {lost / sum(seconds):.0%} of the steps' time",
            severity=lost / sum(seconds),
        )


RULES: tuple[type[Rule[StepFacts]] | type[Rule[Silence]] | type[Rule[EpochFacts]], ...] = (
    LossSpike,
    StalledTraining,
    MaxInitializationTime,
    StepOutlier,
)
