"""What ran, on what hardware, how to run it again, and how long its parts took."""

from __future__ import annotations

from dataclasses import dataclass

from byoc_vision.report import formatting
from byoc_vision.report.record import Operator, Profile, Record, SlowStep, StepTimes, Times

_PARTS = {
    "data_wait": "waiting for data",
    "to_device": "copying to the device",
    "forward": "forward",
    "backward": "backward",
    "optimizer": "optimiser",
    "other": "other",
}


@dataclass(frozen=True)
class Environment:
    """facts: names and texts. given, defaults: hyperparameters that were set, and those that were not.

    choices: hyperparameters that the recipe chose: name, value, reason.
    """

    facts: list[tuple[str, str]]
    versions: list[tuple[str, str]]
    given: list[tuple[str, str]]
    choices: list[tuple[str, str, str]]
    defaults: list[tuple[str, str]]
    command: str


def environment(record: Record) -> Environment:
    run = record.run
    device = " ".join(part for part in (run.device, run.precision) if part)
    size = f"{formatting.count(run.parameters)} weights" if run.parameters else ""
    processes = f"{run.processes} on {run.hosts} host{'s' if run.hosts > 1 else ''}"
    facts = {
        "Model": ", ".join(part for part in (run.model, size) if part),
        "Task": "multi-label classification" if record.multi_label else record.task,
        "First weights": run.weights,
        "Hardware": run.hardware,
        "Device": device,
        "Processes": processes if run.processes > 1 or run.hosts > 1 else "",
        "Seed": str(run.seed),
        "byoc-vision": record.package_version + (f", revision {run.revision}" if run.revision else ""),
    }
    given = set(run.given)
    chosen = {choice.name for choice in run.choices}
    settings = [(name, formatting.setting(value)) for name, value in run.hyperparameters.items()]
    return Environment(
        facts=[(name, text) for name, text in facts.items() if text],
        versions=list(run.versions.items()),
        given=[(name, value) for name, value in settings if name in given],
        choices=[(choice.name, formatting.setting(choice.value), choice.reason) for choice in run.choices],
        defaults=[(name, value) for name, value in settings if name not in given | chosen],
        command=run.command,
    )


@dataclass(frozen=True)
class BudgetView:
    """A job's budget. lines: a name, its value as planned before the first step, and as it came."""

    title: str
    lines: list[tuple[str, str, str]]
    note: str


def budget(record: Record) -> BudgetView | None:
    if record.budget is None:
        return None
    planned, actual, total = record.budget.planned, record.budget.actual, record.budget.seconds
    lines = [
        ("Epochs", formatting.count(planned.epochs), formatting.count(actual.epochs)),
        ("Steps", formatting.count(planned.steps), formatting.count(actual.steps)),
        ("A step", formatting.duration(planned.step_seconds), formatting.duration(actual.step_seconds)),
        (
            "An evaluation",
            formatting.duration(planned.evaluation_seconds),
            formatting.duration(actual.evaluation_seconds),
        ),
        ("Training ends after", formatting.duration(planned.training_ends), formatting.duration(actual.training_ends)),
        ("The job ends after", formatting.duration(planned.job_ends), formatting.duration(actual.job_ends)),
    ]
    changes, share = record.budget.changes, record.budget.schedule
    note = "The plan stayed as it was. " if not changes else f"Changed {changes} time{'s' * (changes > 1)} on the way. "
    note += (
        "The learning rate's schedule reaches its end."
        if share == 1
        else f"The training ended at {formatting.share(share, 0)} of the learning rate's schedule."
    )
    origin = ", of SageMaker's limit" if record.budget.budget == "auto" else ""
    return BudgetView(formatting.duration(total) + origin, lines, note)


@dataclass(frozen=True)
class Part:
    """A part of a step. mean: its seconds in one step. colour: its place in the palette."""

    name: str
    share: float
    mean: float
    colour: int


@dataclass(frozen=True)
class Steps:
    """count: of steps. mean: seconds of a step. slowest: the slowest steps, each with its parts."""

    count: int
    mean: float
    parts: list[Part]
    slowest: list[tuple[SlowStep, list[Part]]]


@dataclass(frozen=True)
class Operators:
    """on_gpu: whether any of them ran on a GPU. lines: operators with their share of all that are listed."""

    profile: Profile
    on_gpu: bool
    lines: list[tuple[Operator, float]]


def steps(times: Times | None) -> Steps | None:
    if times is None or not times.steps or times.total.total <= 0:
        return None
    slowest = [(step, _parts(step.times, 1)) for step in times.slowest]
    return Steps(times.steps, times.total.total / times.steps, _parts(times.total, times.steps), slowest)


def _parts(total: StepTimes, count: int) -> list[Part]:
    whole = total.total or 1.0
    return [
        Part(title, getattr(total, name) / whole, getattr(total, name) / count, colour)
        for colour, (name, title) in enumerate(_PARTS.items())
        if getattr(total, name) > 0
    ]


def operators(times: Times | None) -> Operators | None:
    """The profiler's table, the slowest operator first: on the GPU if any ran there."""
    if times is None or times.profile is None:
        return None
    on_gpu = any(entry.gpu_seconds for entry in times.profile.operators)

    def seconds(entry: Operator) -> float:
        return entry.gpu_seconds if on_gpu else entry.cpu_seconds

    whole = sum(map(seconds, times.profile.operators)) or 1.0
    ordered = sorted(times.profile.operators, key=seconds, reverse=True)
    return Operators(times.profile, on_gpu, [(entry, seconds(entry) / whole) for entry in ordered])
