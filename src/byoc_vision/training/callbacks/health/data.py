"""Rules of the data."""

from __future__ import annotations

from byoc_vision.training.callbacks.health.facts import DataFacts, Look
from byoc_vision.training.callbacks.health.rule import Rule, Sign, Threshold


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
        "odd kind are learnt best with pretrained=false"
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


RULES: tuple[type[Rule[DataFacts]] | type[Rule[Look]], ...] = (ClassImbalance, CheckInputImages)
