"""The health rules' settings: what a rule does that fires, and its thresholds.

health_action      "warn", or "warn, ExplodingTensor=stop, Overfit=none", or the same as a JSON object
health_thresholds  "DeadRelu.share=0.6, VanishingGradient.mean=1e-8", or a JSON object
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

# Rule → its thresholds. The rules themselves stand in byoc_vision.health; a test keeps the two together.
RULES: Mapping[str, tuple[str, ...]] = {
    "LossNotDecreasing": ("epochs", "share"),
    "Overfit": ("ratio", "rise", "epochs"),
    "Overtraining": ("epochs", "rise"),
    "Plateau": ("epochs", "share", "rate"),
    "LossSpike": ("times", "steps"),
    "StalledTraining": ("seconds",),
    "MaxInitializationTime": ("minutes",),
    "StepOutlier": ("times", "share", "steps"),
    "ExplodingTensor": (),
    "VanishingGradient": ("mean", "loss", "looks"),
    "WeightUpdateRatio": ("large", "small", "looks"),
    "PoorWeightInitialization": ("ratio",),
    "DeadRelu": ("share", "looks"),
    "AllZero": ("looks",),
    "UnchangedTensor": ("looks",),
    "ClassImbalance": ("ratio", "pixels"),
    "CheckInputImages": ("mean", "std"),
    "CPUBottleneck": ("share", "seconds"),
    "IOBottleneck": ("share", "seconds"),
    "BatchSize": ("use", "memory", "readings"),
    "LowGPUUtilization": ("high", "median", "readings"),
    "GPUMemoryIncrease": ("share", "epochs"),
    "LoadBalancing": ("share",),
}

Action = Literal["none", "warn", "stop"]
ACTIONS: tuple[Action, ...] = get_args(Action)
DEFAULT: Action = "warn"
_ALL = "all"


@dataclass(frozen=True)
class HealthSettings:
    """What a job sets.

    action: of every rule that is not in `actions`.
    thresholds: rule → threshold → value; only those that differ from their defaults.
    """

    action: Action = DEFAULT
    actions: Mapping[str, Action] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def action_of(self, rule: str) -> Action:
        return self.actions.get(rule, self.action)


def read_settings(action: str, thresholds: str) -> HealthSettings:
    """Raises ValueError as `read_actions` and `read_thresholds` do."""
    general, actions = read_actions(action)
    return HealthSettings(general, actions, read_thresholds(thresholds))


def read_actions(given: str | Mapping[str, Any]) -> tuple[Action, dict[str, Action]]:
    """The general action, and the actions of single rules.

    Raises ValueError that names an unknown rule or action, and the nearest known name.
    """
    general: Action = DEFAULT
    actions: dict[str, Action] = {}
    for name, value in _pairs(given, alone=_ALL):
        action = _action(value)
        if name.lower() == _ALL:
            general = action
        else:
            actions[_known(name, RULES, "rule")] = action
    return general, actions


def read_thresholds(given: str | Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Rule → threshold → value.

    Raises ValueError that names an unknown threshold and the nearest known name, or a value that is not a number.
    """
    known = {f"{rule}.{name}": (rule, name) for rule, names in RULES.items() for name in names}
    thresholds: dict[str, dict[str, float]] = {}
    for name, value in _flat(_pairs(given)):
        rule, threshold = known[_known(name, known, "threshold")]
        thresholds.setdefault(rule, {})[threshold] = _number(name, value)
    return thresholds


def actions_text(given: Any) -> str:
    """The canonical spelling, which reads as the same actions. Raises ValueError as `read_actions` does."""
    general, actions = read_actions(given)
    return ", ".join([general, *(f"{name}={action}" for name, action in sorted(actions.items()))])


def thresholds_text(given: Any) -> str:
    """The canonical spelling of thresholds. Raises ValueError as `read_thresholds` does."""
    thresholds = sorted(read_thresholds(given).items())
    return ", ".join(
        f"{rule}.{name}={value!r}" for rule, values in thresholds for name, value in sorted(values.items())
    )


def _pairs(given: Any, alone: str = "") -> list[tuple[str, Any]]:
    """Names and values. alone: the name of a value without one."""
    if isinstance(given, Mapping):
        return [(str(name).strip(), value) for name, value in given.items()]
    if not isinstance(given, str):
        raise ValueError(f'is text such as "{_EXAMPLE}", or a JSON object')
    pairs: list[tuple[str, Any]] = []
    for part in filter(None, (part.strip() for part in given.split(","))):
        name, sign, value = part.partition("=")
        if not sign and not alone:
            raise ValueError(f"the threshold {part[:60]} is not of the form Rule.threshold=number")
        pairs.append((name.strip(), value.strip()) if sign else (alone, part))
    return pairs


def _flat(pairs: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """`{"DeadRelu": {"share": 0.6}}` is `{"DeadRelu.share": 0.6}`."""
    for name, value in pairs:
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        else:
            yield name, value


def _known(name: str, known: Iterable[str], kind: str) -> str:
    """The name as it is declared; upper and lower case do not matter."""
    declared = {one.lower(): one for one in known}
    if name.lower() in declared:
        return declared[name.lower()]
    nearest = difflib.get_close_matches(name.lower(), declared, n=1, cutoff=0.5)
    hint = f"did you mean {declared[nearest[0]]}?" if nearest else "docs/health.md lists those that are"
    raise ValueError(f"the {kind} {name or 'without a name'} is not known; {hint}")


def _action(value: Any) -> Action:
    for action in ACTIONS:
        if str(value).strip().lower() == action or (value is None and action == "none"):
            return action
    nearest = difflib.get_close_matches(str(value).lower(), ACTIONS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"it is one of {', '.join(ACTIONS)}"
    raise ValueError(f"the action {value} is not known; {hint}")


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise ValueError(f"the threshold {name}={value} is not a number of at least 0")
    return number


_EXAMPLE = "warn, ExplodingTensor=stop"
