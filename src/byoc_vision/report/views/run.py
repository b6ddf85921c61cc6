"""What ran, on what, and how to run it again."""

from __future__ import annotations

from dataclasses import dataclass

from byoc_vision.report import formatting
from byoc_vision.report.record import Record


@dataclass(frozen=True)
class Running:
    """given, defaults: hyperparameters by name, those that were set and those that were not."""

    facts: list[tuple[str, str]]
    versions: list[tuple[str, str]]
    given: list[tuple[str, str]]
    defaults: list[tuple[str, str]]
    command: str


def running(record: Record) -> Running:
    run = record.run
    where = " ".join(part for part in (run.device, run.precision) if part)
    size = f"{formatting.count(run.parameters)} weights" if run.parameters else ""
    processes = f"{run.processes} on {run.hosts} host{'s' if run.hosts > 1 else ''}"
    facts = {
        "Model": ", ".join(part for part in (run.model, size) if part),
        "Task": "multi-label classification" if record.multi_label else record.task,
        "Hardware": run.hardware,
        "Device": where,
        "Processes": processes if run.processes > 1 or run.hosts > 1 else "",
        "Seed": str(run.seed),
        "byoc-vision": record.package_version + (f", revision {run.revision}" if run.revision else ""),
    }
    given = set(run.given)
    settings = [(name, formatting.setting(value)) for name, value in run.hyperparameters.items()]
    return Running(
        facts=[(name, text) for name, text in facts.items() if text],
        versions=list(run.versions.items()),
        given=[(name, value) for name, value in settings if name in given],
        defaults=[(name, value) for name, value in settings if name not in given],
        command=run.command,
    )
