"""The page's curves as plain numbers; `drawing` draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from byoc_vision.report import formatting
from byoc_vision.report.record import Epoch, Reading, Record, Times

Values = Sequence[float | None]

MOST_POINTS = 1000  # of a curve; a screen has not many more columns
MOST_CLASS_CURVES = 8
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)  # seconds
CLASS_METRICS = ("iou_", "f1_")  # prefixes of the metrics of a single class
_WIDE = 100.0  # ratio of the largest to the smallest value above which the axis is logarithmic


@dataclass(frozen=True)
class Series:
    """A line. values: one for each of its chart's x, or None. colour: its place in the palette.

    dots: only points, without a line. level: one value, as a line across the chart.
    """

    name: str
    values: Values
    colour: int
    dashed: bool = False
    dots: bool = False
    level: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line at x, with a label."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Lines over one x.

    format_x, format_y: how a value is written in the tooltip and for screen readers. x_ticks, y_ticks: where the axes
    are labelled, in the same format; empty: chosen by the plot. may_be_log: whether the y axis may be logarithmic.
    """

    key: str
    title: str
    x_name: str
    x: Sequence[float]
    series: Sequence[Series]
    format_x: Callable[[float], str] = formatting.count
    format_y: Callable[[float | None], str] = formatting.number
    x_ticks: Sequence[float] = ()
    y_ticks: Sequence[float] = ()
    marks: Sequence[Mark] = ()
    note: str = ""
    may_be_log: bool = False

    @property
    def logarithmic(self) -> bool:
        """Whether most of a linear chart would be flat."""
        values = [value for series in self.series for value in series.values if value is not None]
        return self.may_be_log and bool(values) and min(values) > 0 and max(values) / min(values) > _WIDE

    @property
    def description(self) -> str:
        """For screen readers."""
        return f"{self.title}. " + " ".join(map(self._describe, self.series))

    def _describe(self, series: Series) -> str:
        known = [(x, value) for x, value in zip(self.x, series.values, strict=True) if value is not None]
        if not known:
            return f"{series.name}: no values."
        (first, begin), (last, end) = known[0], known[-1]
        if first == last:
            return f"{series.name}: {self.format_y(begin)} in {self.x_name} {self.format_x(first)}."
        return (
            f"{series.name}: from {self.format_y(begin)} in {self.x_name} {self.format_x(first)} "
            f"to {self.format_y(end)} in {self.x_name} {self.format_x(last)}."
        )


def finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def thinned(epochs: Sequence[Epoch], keep: int | None = None, most: int = MOST_POINTS) -> list[Epoch]:
    """At most `most` of them: evenly spread, with the first, the last, and epoch `keep`."""
    if len(epochs) <= most:
        return list(epochs)
    chosen = set(np.linspace(0, len(epochs) - 1, most - 1).round().astype(int).tolist())
    return [epoch for place, epoch in enumerate(epochs) if place in chosen or epoch.epoch == keep]


# Curves over epochs


def curves(record: Record) -> list[Chart]:
    """Losses, metrics, the learning rate, and each class's metric if there are few classes."""
    if not record.epochs:
        return []
    epochs = thinned(record.epochs, keep=record.best_epoch)
    charts = [_losses(record, epochs), _metrics(record, epochs), _class_metrics(record, epochs), _learning_rate(epochs)]
    return [chart for chart in charts if any(value is not None for line in chart.series for value in line.values)]


def _losses(record: Record, epochs: Sequence[Epoch]) -> Chart:
    series = [Series("training", [finite(epoch.train_loss) for epoch in epochs], 0, dashed=True)]
    if any("loss" in epoch.validation for epoch in epochs):
        series.append(Series("validation", _values(epochs, "loss"), 1))
    return _over_epochs("loss", "Loss", epochs, series, marks(record), may_be_log=True)


def _metrics(record: Record, epochs: Sequence[Epoch]) -> Chart:
    names = overall_metrics(record)
    series = [Series(formatting.title(name), _values(epochs, name), place) for place, name in enumerate(names)]
    objective = objective_name(record)
    if record.floor and (value := finite(record.floor.validation.get(objective))) is not None:
        name = f"{formatting.title(objective)} of the floor"
        series.append(Series(name, [value] * len(epochs), len(names), dashed=True, level=True))
    return _over_epochs("metrics", "Validation", epochs, series, marks(record))


def _class_metrics(record: Record, epochs: Sequence[Epoch]) -> Chart:
    names = [name for name in _metric_names(epochs) if name.startswith(CLASS_METRICS)]
    if len(names) > MOST_CLASS_CURVES:
        names = []
    kind = "IoU" if names and names[0].startswith("iou_") else "F1"
    series = [Series(name.partition("_")[2], _values(epochs, name), place) for place, name in enumerate(names)]
    return _over_epochs("classes", f"Validation: {kind} of each class", epochs, series, marks(record))


def _learning_rate(epochs: Sequence[Epoch]) -> Chart:
    series = [Series("learning rate", [finite(epoch.learning_rate) for epoch in epochs], 3)]
    return _over_epochs("learning-rate", "Learning rate", epochs, series, may_be_log=True)


def speed(record: Record) -> list[Chart]:
    """Images per second in each epoch."""
    epochs = thinned(record.epochs)
    if not any(epoch.images_per_second for epoch in epochs):
        return []
    series = [Series("images per second", [epoch.images_per_second for epoch in epochs], 2)]
    return [_over_epochs("speed", "Images per second, in training", epochs, series)]


def overall_metrics(record: Record) -> list[str]:
    """The names of the metrics of all classes together, without the loss; the objective comes first."""
    names = [name for name in _metric_names(record.epochs) if name != "loss" and not name.startswith(CLASS_METRICS)]
    return objective_first(record, names)


def objective_first(record: Record, names: Sequence[str]) -> list[str]:
    """The same order, but for the objective."""
    return sorted(names, key=lambda name: name != objective_name(record))


def objective_name(record: Record) -> str:
    """Without the split: `dice`."""
    return record.objective.rpartition(":")[2]


def marks(record: Record) -> list[Mark]:
    """The best epoch, and the last epoch if the training stopped early."""
    found = []
    if record.best_epoch:
        found.append(Mark(record.best_epoch, "best"))
    if record.epochs and record.state in ("stopped_early", "stopped_by_rule", "interrupted"):
        last = record.epochs[-1].epoch
        found = [mark for mark in found if mark.x != last] + [Mark(last, "best, stopped")] * (last == record.best_epoch)
        if last != record.best_epoch:
            found.append(Mark(last, "stopped"))
    return found


def _metric_names(epochs: Sequence[Epoch]) -> list[str]:
    return list(dict.fromkeys(name for epoch in epochs for name in epoch.validation))


def _values(epochs: Sequence[Epoch], name: str) -> list[float | None]:
    return [finite(epoch.validation.get(name)) for epoch in epochs]


def _over_epochs(
    key: str,
    title: str,
    epochs: Sequence[Epoch],
    series: Sequence[Series],
    marks: Sequence[Mark] = (),
    may_be_log: bool = False,
) -> Chart:
    return Chart(key, title, "epoch", [epoch.epoch for epoch in epochs], series, marks=marks, may_be_log=may_be_log)


# Curves over time


def over_time(record: Record) -> list[Chart]:
    """The speed of the training, and the use of the machine."""
    return [*speed(record), *machine(record.times)]


def machine(times: Times | None) -> list[Chart]:
    """The use of CPU, GPU and memory."""
    readings = averaged(times.readings) if times else []
    if times is None or not readings:
        return []
    return [chart for chart in (_use(readings), _memory(readings, times)) if chart.series]


def _use(readings: Sequence[Reading]) -> Chart:
    lines = [("CPU", [reading.cpu for reading in readings]), ("GPU", [reading.gpu for reading in readings])]
    quarters = (0, 0.25, 0.5, 0.75, 1)
    return _over_time("use", "Utilisation", readings, lines, lambda value: formatting.share(value, 0), quarters)


def _memory(readings: Sequence[Reading], times: Times) -> Chart:
    lines: list[tuple[str, Values]] = [
        ("memory", [reading.memory for reading in readings]),
        ("GPU memory", [reading.gpu_memory for reading in readings]),
    ]
    limits = [(times.memory_limit, "of memory"), (times.gpu_memory_limit, "on the GPU")]
    available = " and ".join(f"{formatting.memory(limit)} {where}" for limit, where in limits if limit)
    most = max((value for _, values in lines for value in values if value is not None), default=0.0)
    note = f"Available: {available}." if available else ""
    return _over_time("memory", "Memory in use", readings, lines, formatting.memory, ticks(most, 5), note=note)


def _over_time(
    key: str,
    title: str,
    readings: Sequence[Reading],
    lines: Sequence[tuple[str, Values]],
    format_y: Callable[[float | None], str],
    y_ticks: Sequence[float],
    note: str = "",
) -> Chart:
    series = [
        Series(name, values, place)
        for place, (name, values) in enumerate(lines)
        if any(value is not None for value in values)
    ]
    x = [reading.seconds for reading in readings]
    x_ticks = ticks(x[-1], 5, TIME_STEPS)
    return Chart(key, title, "time", x, series, formatting.duration, format_y, x_ticks, y_ticks, note=note)


def averaged(readings: Sequence[Reading], most: int = MOST_POINTS // 2) -> list[Reading]:
    """At most `most` readings, each the mean of its neighbours."""
    if len(readings) <= most:
        return list(readings)
    return [_mean([readings[place] for place in places]) for places in np.array_split(np.arange(len(readings)), most)]


def _mean(readings: Sequence[Reading]) -> Reading:
    def mean(name: str) -> float | None:
        known = [value for value in (getattr(reading, name) for reading in readings) if value is not None]
        return sum(known) / len(known) if known else None

    memory, gpu_memory = mean("memory"), mean("gpu_memory")
    return Reading(
        seconds=readings[0].seconds,
        cpu=mean("cpu"),
        memory=None if memory is None else round(memory),
        gpu=mean("gpu"),
        gpu_memory=None if gpu_memory is None else round(gpu_memory),
    )


def ticks(last: float, most: int, steps: Sequence[float] = (1, 2, 5)) -> list[float]:
    """From 0 to `last` in round steps, at most `most` of them; if none is wide enough, in ten times as wide ones."""
    scale = 1.0 if last / most >= 1 else 10.0 ** math.floor(math.log10(max(last, 1e-9) / most))
    while True:
        for step in steps:
            if last <= most * step * scale:
                return [step * scale * place for place in range(int(last / (step * scale)) + 1)]
        scale *= 10
