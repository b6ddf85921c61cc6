"""What a rule is: thresholds that a job may set, and a judgement of plain numbers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

Facts = TypeVar("Facts")


class Threshold:
    """A number of a rule, with its default and its meaning. On an instance of a rule it is the number."""

    def __init__(self, default: float, meaning: str) -> None:
        self.default = default
        self.meaning = meaning
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, rule: Rule[Any] | None, owner: type) -> float:
        assert rule is not None, "thresholds are asked for with `thresholds`"
        return rule.settings.get(self.name, self.default)


@dataclass(frozen=True)
class Sign:
    """What a rule saw. evidence: the numbers.

    severity: how bad it is; reported again only if it has doubled. remedy: replaces the rule's own one.
    """

    evidence: str
    severity: float = 1.0
    remedy: str = ""


class Rule(Generic[Facts]):
    """Judges facts of one kind. Its docstring is its documentation: what it finds.

    facts: the kind. evidence: what its signs show. remedy: what to do.
    """

    facts: ClassVar[type]
    evidence: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(self, settings: Mapping[str, float] | None = None) -> None:
        """settings: of its thresholds, by name, those that are not left at their defaults."""
        self.settings = settings or {}

    def judge(self, facts: Facts) -> Sign | None:
        """The fault, if the facts show one."""
        raise NotImplementedError

    @classmethod
    def name(cls) -> str:
        return cls.__name__

    @classmethod
    def meaning(cls) -> str:
        return inspect.cleandoc(cls.__doc__ or "").replace("\n", " ")

    @classmethod
    def thresholds(cls) -> dict[str, Threshold]:
        """By name, in the order of their declaration."""
        declared = {name: value for kind in reversed(cls.__mro__) for name, value in vars(kind).items()}
        return {name: value for name, value in declared.items() if isinstance(value, Threshold)}
