"""Where the time of the training went."""

from __future__ import annotations

from dataclasses import dataclass

from byoc_vision.report.record import Operator, Profile, SlowStep, StepTimes, Times

_PARTS = {
    "data_wait": "waiting for images",
    "to_device": "moving them to the device",
    "forward": "forward",
    "backward": "backward",
    "optimizer": "optimiser",
    "other": "all else",
}


@dataclass(frozen=True)
class Part:
    """Of a step. each: seconds of one step, the mean. colour: its place in the palette."""

    name: str
    share: float
    each: float
    colour: int


@dataclass(frozen=True)
class Steps:
    """slowest: each with its parts."""

    number: int
    each: float
    parts: list[Part]
    slowest: list[tuple[SlowStep, list[Part]]]


@dataclass(frozen=True)
class Operators:
    """on_gpu: whether any of them ran on one. Each with its share of all that are listed."""

    profile: Profile
    on_gpu: bool
    lines: list[tuple[Operator, float]]


def steps(times: Times | None) -> Steps | None:
    if times is None or not times.steps or times.total.total <= 0:
        return None
    slowest = [(step, _parts(step.times, 1)) for step in times.slowest]
    return Steps(times.steps, times.total.total / times.steps, _parts(times.total, times.steps), slowest)


def _parts(total: StepTimes, number: int) -> list[Part]:
    whole = total.total or 1.0
    return [
        Part(title, getattr(total, name) / whole, getattr(total, name) / number, colour)
        for colour, (name, title) in enumerate(_PARTS.items())
        if getattr(total, name) > 0
    ]


def operators(times: Times | None) -> Operators | None:
    """The profiler's table, by where the time was spent: on the GPU, where there is one."""
    if times is None or times.profile is None:
        return None
    on_gpu = any(entry.gpu_seconds for entry in times.profile.operators)

    def seconds(entry: Operator) -> float:
        return entry.gpu_seconds if on_gpu else entry.cpu_seconds

    whole = sum(map(seconds, times.profile.operators)) or 1.0
    ordered = sorted(times.profile.operators, key=seconds, reverse=True)
    return Operators(times.profile, on_gpu, [(entry, seconds(entry) / whole) for entry in ordered])
