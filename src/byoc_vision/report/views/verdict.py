"""The top of the page: the result, and how the job ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from byoc_vision.report import formatting
from byoc_vision.report.charts import objective_name
from byoc_vision.report.record import Finding, Record, State

MOST_NAMED = 5  # classes that validation lacks

Mood = Literal["good", "wait", "bad"]

_STATES: dict[State, tuple[str, Mood]] = {
    "running": ("Still running", "wait"),
    "finished": ("Finished", "good"),
    "stopped_early": ("Stopped early", "good"),
    "stopped_by_rule": ("Stopped by a health rule", "wait"),
    "interrupted": ("Interrupted", "wait"),
    "failed": ("Failed", "bad"),
}


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """metric, value: the objective's. where: the split and epoch of the value."""

    metric: str
    value: str
    where: str
    state: str
    mood: Mood
    reason: str
    about: str
    facts: list[Fact]
    findings: list[Finding]


def verdict(record: Record) -> Verdict:
    state, mood = _STATES[record.state]
    return Verdict(
        metric=formatting.heading(objective_name(record)),
        value=formatting.number(objective_value(record)),
        where=_where(record),
        state=state,
        mood=mood,
        reason=record.reason or _default_reason(record),
        about=_about(record),
        facts=_facts(record),
        findings=sorted(record.findings, key=lambda finding: finding.action != "stop"),
    )


def objective_value(record: Record) -> float | None:
    """The objective's value: of the best epoch, or of the only split that was evaluated."""
    name = objective_name(record)
    if name in record.validation:
        return record.validation[name]
    return next((entry.metrics[name] for entry in record.evaluations if name in entry.metrics), None)


def test_value(record: Record) -> float | None:
    return (record.test or {}).get(objective_name(record))


def duration_note(record: Record) -> str:
    """Empty for a single process."""
    run = record.run
    if run.hosts > 1:
        return f"{run.processes} processes on {run.hosts} hosts"
    return f"{run.processes} processes" if run.processes > 1 else ""


def _where(record: Record) -> str:
    if record.soup:
        return f"validation, of the averaged weights of epochs {', '.join(map(str, record.soup))}{_coverage(record)}"
    if record.best_epoch == 0:
        return f"validation, of the floor: no epoch was better{_coverage(record)}"
    if record.best_epoch is not None:
        return f"validation, after epoch {record.best_epoch}{_coverage(record)}"
    if record.epochs or not record.evaluations:
        return "No epoch is complete, so there is no value"
    return f"on {formatting.count(record.evaluations[0].images)} images of {record.evaluations[0].split}"


def _coverage(record: Record) -> str:
    """How many of the classes the value is of, if not of all."""
    missing = record.unvalidated_classes
    if not missing:
        return ""
    total = len(record.classes)
    names = ", ".join(missing[:MOST_NAMED]) + (", …" if len(missing) > MOST_NAMED else "")
    return f", over {total - len(missing)} of {total} classes (without {names})"


def _default_reason(record: Record) -> str:
    done, planned = len(record.epochs), record.planned_epochs
    if record.state == "running":
        return "The values so far."
    if record.state == "finished" and planned:
        return f"All {planned} epochs are done." if planned > 1 else "The one epoch is done."
    if planned:
        return f"{done} of {planned} epochs are done."
    return ""


def _about(record: Record) -> str:
    run = record.run
    task = "multi-label classification" if record.multi_label else record.task
    weights = f", {run.parameters / 1e6:.3g} million weights" if run.parameters else ""
    return formatting.capital(f"{task} with {run.model}{weights}." if run.model else f"{task}.")


def _facts(record: Record) -> list[Fact]:
    name = formatting.title(objective_name(record))
    facts = []
    if record.floor is not None:
        floor = record.floor.validation.get(objective_name(record))
        note = f"a linear classifier on the pretrained features, after {formatting.duration(record.floor.seconds)}"
        facts.append(Fact("Floor", formatting.number(floor), note))
    if record.test is not None:
        facts.append(Fact("On the test images", formatting.number(test_value(record)), name))
    if record.planned_epochs:
        best = f"best: {record.best_epoch}" if record.best_epoch else "no best epoch yet"
        facts.append(Fact("Epochs", f"{len(record.epochs)} of {record.planned_epochs}", best))
    if record.seconds:
        facts.append(Fact("Duration", formatting.duration(record.seconds), duration_note(record)))
    if record.gpu_seconds:
        facts.append(
            Fact("GPU time", formatting.duration(record.gpu_seconds), f"{formatting.count(record.gpu_seconds)} s")
        )
    facts.append(Fact("Images", formatting.count(sum(record.images.values())), _splits(record)))
    return facts


def _splits(record: Record) -> str:
    return ", ".join(f"{formatting.count(number)} {split}" for split, number in record.images.items())
