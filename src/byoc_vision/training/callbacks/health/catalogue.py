"""All rules, and their documentation."""

from __future__ import annotations

from typing import Any

from byoc_vision.training.callbacks.health import data, epochs, speed, steps, tensors
from byoc_vision.training.callbacks.health.rule import Rule

RULES: dict[str, type[Rule[Any]]] = {
    rule.name(): rule for part in (epochs, steps, tensors, data, speed) for rule in part.RULES
}
"""By name."""


def rules_table() -> str:
    """A Markdown table: each rule, what it finds, its thresholds, what it shows and what to do."""
    rows = ["| rule | finds | thresholds | evidence | remedy |", "| --- | --- | --- | --- | --- |"]
    for name, rule in RULES.items():
        thresholds = "<br>".join(
            f"`{key}={value.default:g}`: {value.meaning}" for key, value in rule.thresholds().items()
        )
        rows.append(f"| `{name}` | {rule.meaning()} | {thresholds or '–'} | {rule.evidence} | {rule.remedy} |")
    return "\n".join(rows)
