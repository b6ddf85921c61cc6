"""The ranges and the objective of a search, for SageMaker's tuner and for `byoc-vision tune`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """The metric that a search optimises, as epochs log it."""

    metric: str  # such as validation:dice
    direction: Direction


@dataclass(frozen=True)
class Continuous:
    """A real number from low to high, both included."""

    name: str
    low: float
    high: float
    logarithmic: bool = False


@dataclass(frozen=True)
class Integer:
    """A whole number from low to high, both included."""

    name: str
    low: int
    high: int
    logarithmic: bool = False


@dataclass(frozen=True)
class Categorical:
    """One of some values, as hyperparameters.json spells them; the first is the recipe's own."""

    name: str
    values: tuple[str, ...]


Range = Continuous | Integer | Categorical


@dataclass(frozen=True)
class SearchSpace:
    """What a search needs to know of a recipe. fixed: the recipe's other hyperparameters."""

    objective: Objective
    ranges: tuple[Range, ...]
    fixed: dict[str, str] = field(default_factory=dict)
