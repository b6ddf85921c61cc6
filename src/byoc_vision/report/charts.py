"""What the page's curves show: plain numbers, drawn by `drawing`."""

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
CLASS_FIGURES = ("iou_", "f1_")  # how the names of one class's figures begin
_WIDE = 100.0  # the ratio of the largest to the smallest from which a logarithmic axis shows more


@dataclass(frozen=True)
class Series:
    """A line. values: one for each of its chart's x; None where there is none. colour: its place in the palette.

    dots: its points alone, which nothing joins.
    """

    name: str
    values: Values
    colour: int
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line at x, with a word on it."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Lines over one x.

    x_words, y_words: how a value is written where the pointer is, and for screen readers. x_ticks, y_ticks: where the
    axes are labelled, with the same words; empty: where the plot finds it good. of_any_size: whether y may be anything
    above 0, so that a logarithmic axis can be the one that shows it.
    """

    key: str
    title: str
    x_name: str
    x: Sequence[float]
    series: Sequence[Series]
    x_words: Callable[[float], str] = formatting.count
    y_words: Callable[[float | None], str] = formatting.figure
    x_ticks: Sequence[float] = ()
    y_ticks: Sequence[float] = ()
    marks: Sequence[Mark] = ()
    note: str = ""
    of_any_size: bool = False

    @property
    def logarithmic(self) -> bool:
        """Whether most of it would lie on the ground otherwise."""
        values = [value for series in self.series for value in series.values if value is not None]
        return self.of_any_size and bool(values) and min(values) > 0 and max(values) / min(values) > _WIDE

    @property
    def description(self) -> str:
        """For who cannot see it."""
        return f"{self.title}. " + " ".join(map(self._described, self.series))

    def _described(self, series: Series) -> str:
        known = [(x, value) for x, value in zip(self.x, series.values, strict=True) if value is not None]
        if not known:
            return f"{series.name}: no values."
        (first, begin), (last, end) = known[0], known[-1]
        if first == last:
            return f"{series.name}: {self.y_words(begin)} in {self.x_name} {self.x_words(first)}."
        return (
            f"{series.name}: from {self.y_words(begin)} in {self.x_name} {self.x_words(first)} "
            f"to {self.y_words(end)} in {self.x_name} {self.x_words(last)}."
        )


def finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def thinned(epochs: Sequence[Epoch], keep: int | None = None, most: int = MOST_POINTS) -> list[Epoch]:
    """`most` of them at the most: evenly spread, with the first, the last, and epoch `keep`."""
    if len(epochs) <= most:
        return list(epochs)
    chosen = set(np.linspace(0, len(epochs) - 1, most - 1).round().astype(int).tolist())
    return [epoch for place, epoch in enumerate(epochs) if place in chosen or epoch.epoch == keep]


# Curves over epochs


def curves(record: Record) -> list[Chart]:
    """Losses, figures, the learning rate, and the figures of each class where they are few."""
    if not record.epochs:
        return []
    epochs = thinned(record.epochs, keep=record.best_epoch)
    charts = [_losses(record, epochs), _figures(record, epochs), _of_classes(record, epochs), _learning_rate(epochs)]
    return [chart for chart in charts if any(value is not None for line in chart.series for value in line.values)]


def _losses(record: Record, epochs: Sequence[Epoch]) -> Chart:
    series = [Series("training", [finite(epoch.train_loss) for epoch in epochs], 0, dashed=True)]
    if any("loss" in epoch.validation for epoch in epochs):
        series.append(Series("validation", _values(epochs, "loss"), 1))
    return _over_epochs("loss", "Loss", epochs, series, marks(record), of_any_size=True)


def _figures(record: Record, epochs: Sequence[Epoch]) -> Chart:
    names = overall_figures(record)
    series = [Series(formatting.title(name), _values(epochs, name), place) for place, name in enumerate(names)]
    return _over_epochs("figures", "Validation", epochs, series, marks(record))


def _of_classes(record: Record, epochs: Sequence[Epoch]) -> Chart:
    names = [name for name in _figure_names(epochs) if name.startswith(CLASS_FIGURES)]
    if len(names) > MOST_CLASS_CURVES:
        names = []
    kind = "IoU" if names and names[0].startswith("iou_") else "F1"
    series = [Series(name.partition("_")[2], _values(epochs, name), place) for place, name in enumerate(names)]
    return _over_epochs("classes", f"Validation: {kind} of each class", epochs, series, marks(record))


def _learning_rate(epochs: Sequence[Epoch]) -> Chart:
    series = [Series("learning rate", [finite(epoch.learning_rate) for epoch in epochs], 3)]
    return _over_epochs("learning-rate", "Learning rate", epochs, series, of_any_size=True)


def speed(record: Record) -> Chart | None:
    """Images a second in each epoch."""
    epochs = thinned(record.epochs)
    if not any(epoch.images_per_second for epoch in epochs):
        return None
    series = [Series("images a second", [epoch.images_per_second for epoch in epochs], 2)]
    return _over_epochs("speed", "Images a second, in training", epochs, series)


def overall_figures(record: Record) -> list[str]:
    """The names of the figures of all classes together, without the loss; the one that decides comes first."""
    names = [name for name in _figure_names(record.epochs) if name != "loss" and not name.startswith(CLASS_FIGURES)]
    return sorted(names, key=lambda name: name != objective_name(record))


def objective_name(record: Record) -> str:
    """Without the split: `dice`."""
    return record.objective.rpartition(":")[2]


def marks(record: Record) -> list[Mark]:
    """The best epoch, and the last where the training stopped before its time."""
    found = []
    if record.best_epoch is not None:
        found.append(Mark(record.best_epoch, "best"))
    if record.epochs and record.state in ("stopped_early", "stopped_by_rule", "interrupted"):
        last = record.epochs[-1].epoch
        found = [mark for mark in found if mark.x != last] + [Mark(last, "best, stopped")] * (last == record.best_epoch)
        if last != record.best_epoch:
            found.append(Mark(last, "stopped"))
    return found


def _figure_names(epochs: Sequence[Epoch]) -> list[str]:
    return list(dict.fromkeys(name for epoch in epochs for name in epoch.validation))


def _values(epochs: Sequence[Epoch], name: str) -> list[float | None]:
    return [finite(epoch.validation.get(name)) for epoch in epochs]


def _over_epochs(
    key: str,
    title: str,
    epochs: Sequence[Epoch],
    series: Sequence[Series],
    marks: Sequence[Mark] = (),
    of_any_size: bool = False,
) -> Chart:
    return Chart(key, title, "epoch", [epoch.epoch for epoch in epochs], series, marks=marks, of_any_size=of_any_size)


# Curves over time


def machine(times: Times | None) -> list[Chart]:
    """How busy processors and GPUs were, and how full their memory."""
    readings = averaged(times.readings) if times else []
    if times is None or not readings:
        return []
    return [chart for chart in (_use(readings), _memory(readings, times)) if chart.series]


def _use(readings: Sequence[Reading]) -> Chart:
    lines = [("processors", [reading.cpu for reading in readings]), ("GPU", [reading.gpu for reading in readings])]
    quarters = (0, 0.25, 0.5, 0.75, 1)
    return _over_time("use", "How busy", readings, lines, lambda value: formatting.share(value, 0), quarters)


def _memory(readings: Sequence[Reading], times: Times) -> Chart:
    lines: list[tuple[str, Values]] = [
        ("memory", [reading.memory for reading in readings]),
        ("GPU memory", [reading.gpu_memory for reading in readings]),
    ]
    limits = [(times.memory_limit, "of memory"), (times.gpu_memory_limit, "on the GPU")]
    there_are = " and ".join(f"{formatting.memory(limit)} {where}" for limit, where in limits if limit)
    most = max((value for _, values in lines for value in values if value is not None), default=0.0)
    note = f"There are {there_are}." if there_are else ""
    return _over_time("memory", "Memory in use", readings, lines, formatting.memory, ticks(most, 5), note=note)


def _over_time(
    key: str,
    title: str,
    readings: Sequence[Reading],
    lines: Sequence[tuple[str, Values]],
    y_words: Callable[[float | None], str],
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
    return Chart(key, title, "time", x, series, formatting.duration, y_words, x_ticks, y_ticks, note=note)


def averaged(readings: Sequence[Reading], most: int = MOST_POINTS // 2) -> list[Reading]:
    """`most` at the most, each the mean of its neighbours."""
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
    """From 0 to `last` in round steps, `most` of them at the most; in ten times as wide ones where none is enough."""
    scale = 1.0 if last / most >= 1 else 10.0 ** math.floor(math.log10(max(last, 1e-9) / most))
    while True:
        for step in steps:
            if last <= most * step * scale:
                return [step * scale * place for place in range(int(last / (step * scale)) + 1)]
        scale *= 10
