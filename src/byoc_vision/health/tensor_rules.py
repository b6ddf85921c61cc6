"""Rules of tensors: weights, gradients and what activation layers receive, looked at in some steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from byoc_vision.health.facts import Activation, Explosion, Look
from byoc_vision.health.rule import Rule, Sign, Threshold

Facts = TypeVar("Facts")

_MOST_NAMED = 3


class ExplodingTensor(Rule[Explosion]):
    """The loss or the gradients are infinite or not a number (NaN)."""

    facts = Explosion
    evidence = "which, and the first layer whose output was not finite, found by one more forward pass"
    remedy = "lower learning_rate (a tenth is a good next try), or set clip_grad_norm=1"

    def judge(self, facts: Explosion) -> Sign | None:
        return Sign(f"{facts.what} is not finite; {facts.origin}")


class _InARow(Rule[Look]):
    """Counts in how many looks in a row a thing was so."""

    def __init__(self, settings: Mapping[str, float] | None = None) -> None:
        super().__init__(settings)
        self._counts: Counter[str] = Counter()

    def lasting(self, found: Iterable[str], looks: float) -> list[str]:
        """Those of the names that were found in `looks` looks in a row."""
        self._counts = Counter({name: self._counts[name] + 1 for name in found})
        return [name for name, count in self._counts.items() if count >= looks]


class VanishingGradient(_InARow):
    """The gradient of a weight is next to nothing, while the loss is not."""

    facts = Look
    evidence = "the weights, and the mean of their gradients' absolute values"
    remedy = (
        "a model with batch normalisation or residual connections (resnet, or unet with an encoder), a higher "
        "learning_rate at the start; precision=bfloat16 where float16 was used"
    )
    mean = Threshold(1e-8, "the mean of a weight's absolute gradients")
    loss = Threshold(0.1, "judged only while the loss is above this share of the first step's")
    looks = Threshold(3, "looks in a row")

    def judge(self, facts: Look) -> Sign | None:
        # Residual branches begin at zero, and grow with the first steps of a learning rate that shows.
        if not facts.moved or facts.loss <= self.loss * facts.first_loss:
            return None
        tiny = {name: weight.gradient for name, weight in facts.weights.items() if weight.gradient < self.mean}
        lasting = self.lasting(tiny, self.looks)
        if not lasting:
            return None
        shown = f"the mean gradient of {few(lasting)} is {max(tiny[name] for name in lasting):.2g} or less"
        return Sign(f"{shown} ({len(lasting)} of {len(facts.weights)} weights)", severity=len(lasting))


class WeightUpdateRatio(_InARow):
    """A step changes a weight by more than what it is, or by next to nothing."""

    facts = Look
    evidence = "the weights, and by which share of its norm a step changed each"
    remedy = "lower learning_rate"
    large = Threshold(1.0, "the change of a weight in one step, as a share of its norm, at the most")
    small = Threshold(1e-8, "the same, at the least")
    looks = Threshold(2, "looks in a row with such small changes")

    def judge(self, facts: Look) -> Sign | None:
        if not facts.moved:
            return None
        ratios = {name: weight.change / weight.norm for name, weight in facts.weights.items() if weight.norm > 1e-6}
        large = [name for name, ratio in ratios.items() if ratio > self.large]
        # A weight that does not change at all is UnchangedTensor's.
        small = self.lasting((name for name, ratio in ratios.items() if 0 < ratio < self.small), self.looks)
        odd = large or small
        if not odd:
            return None
        ratio, whose = max(ratios[name] for name in odd), "its" if len(odd) == 1 else "their"
        return Sign(
            f"a step changes {few(odd)} by up to {ratio:.2g} times {whose} norm",
            severity=ratio if large else 1.0,
            remedy="" if large else "raise learning_rate",
        )


class UnchangedTensor(_InARow):
    """A weight that should learn does not change at all."""

    facts = Look
    evidence = "the weights"
    remedy = (
        "raise learning_rate: a change below a ten-millionth of a weight is lost in float32; or the layer gets no "
        "gradient, since nothing behind it is alive"
    )
    looks = Threshold(3, "looks in a row")

    def judge(self, facts: Look) -> Sign | None:
        if not facts.moved:
            return None
        still = (name for name, weight in facts.weights.items() if not weight.change and weight.norm)
        lasting = self.lasting(still, self.looks)
        if not lasting:
            return None
        return Sign(
            f"{few(lasting)} did not change ({len(lasting)} of {len(facts.weights)} weights)", severity=len(lasting)
        )


class AllZero(_InARow):
    """All values of a weight, or all that a layer passes on, are zero."""

    facts = Look
    evidence = "the weights and the layers"
    remedy = "start from other weights (another `pretrained` channel, or pretrained=false), and lower learning_rate"
    looks = Threshold(3, "looks in a row")

    def judge(self, facts: Look) -> Sign | None:
        weights = [name for name, weight in facts.weights.items() if not weight.norm]
        layers = [name for name, seen in facts.activations.items() if seen.rectifies and all(seen.dead)]
        lasting = self.lasting([*weights, *layers], self.looks)
        return Sign(f"all values of {few(lasting)} are zero", severity=len(lasting)) if lasting else None


class DeadRelu(Rule[Look]):
    """Many channels of a ReLU never pass anything on: they are lost to the network, and cannot recover."""

    facts = Look
    evidence = "the layers, and the share of their channels that were never active in these looks"
    remedy = "lower learning_rate, set warmup_epochs=1, or start from pretrained weights"
    share = Threshold(0.5, "the share of a layer's channels")
    looks = Threshold(3, "looks in a row in which a channel was never active")

    def __init__(self, settings: Mapping[str, float] | None = None) -> None:
        super().__init__(settings)
        self._silent: dict[str, list[int]] = {}  # by layer and channel: looks in a row

    def judge(self, facts: Look) -> Sign | None:
        shares = {}
        for name, seen in facts.activations.items():
            if seen.rectifies:
                shares[name] = self._share(name, seen)
        dead = {name: share for name, share in shares.items() if share > self.share}
        if not dead:
            return None
        worst = sorted(dead, key=lambda name: dead[name], reverse=True)
        shown = ", ".join(f"{dead[name]:.0%} of {name}" for name in worst[:_MOST_NAMED])
        more = f" and {len(dead) - _MOST_NAMED} layers more" if len(dead) > _MOST_NAMED else ""
        return Sign(f"channels that are never active: {shown}{more}", severity=len(dead))

    def _share(self, name: str, seen: Activation) -> float:
        before = self._silent.get(name, [])
        if len(before) != len(seen.dead):
            before = [0] * len(seen.dead)
        self._silent[name] = [count + 1 if dead else 0 for count, dead in zip(before, seen.dead, strict=True)]
        silent = sum(count >= self.looks for count in self._silent[name])
        return silent / len(seen.dead) if seen.dead else 0.0


class PoorWeightInitialization(Rule[Look]):
    """In the first step some layers receive values of quite another size than others, or of no size at all."""

    facts = Look
    evidence = "the standard deviations of what the layers with the least and the most of it receive"
    remedy = (
        "start from pretrained weights, or take a model with batch normalisation; pretrained weights of your own: see "
        "that they belong to this model and are not damaged"
    )
    ratio = Threshold(1000, "the largest standard deviation in terms of the smallest")

    def judge(self, facts: Look) -> Sign | None:
        spreads = {name: seen.std for name, seen in facts.activations.items()}
        if not facts.untrained or not spreads:
            return None
        least, most = min(spreads, key=lambda name: spreads[name]), max(spreads, key=lambda name: spreads[name])
        if spreads[most] <= self.ratio * spreads[least]:
            return None
        return Sign(
            f"before {least} the values' standard deviation is {spreads[least]:.2g}, before {most} {spreads[most]:.2g}"
        )


def few(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


RULES: tuple[type[Rule[Look]] | type[Rule[Explosion]], ...] = (
    ExplodingTensor,
    VanishingGradient,
    WeightUpdateRatio,
    PoorWeightInitialization,
    DeadRelu,
    AllZero,
    UnchangedTensor,
)
