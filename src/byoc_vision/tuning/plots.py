"""The page's plots: the progress of the search, all trials by epoch, and the hyperparameters of all trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from byoc_vision.describe.space import Categorical, Range
from byoc_vision.report import formatting
from byoc_vision.report.charts import Chart, Series
from byoc_vision.report.drawing import FONT, add_tooltip, as_json, blank_plot, name_ticks, number_ticks, style_axes
from byoc_vision.report.palette import EDGE, QUIET, SERIES

HEIGHT = 320  # CSS pixels, of the parallel axes
_REST, _BEST = SERIES[0].light, SERIES[1].light
_REACH = 14  # pixels around a point in which its tooltip shows


@dataclass(frozen=True)
class PlottedTrial:
    """A trial in a plot. rank: 0–1 from the worst to the best. epochs: the metric of each, by its number."""

    number: int
    value: float | None
    rank: float
    is_best: bool
    epochs: dict[int, float]
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.number}, the best" if self.is_best else str(self.number)


def progress(shown: Sequence[PlottedTrial], metric: str, minimize: bool) -> Chart | None:
    """The metric of the complete trials, and the best so far."""
    known = [(trial.number, trial.value) for trial in shown if trial.value is not None]
    if not known:
        return None
    so_far = accumulate((value for _, value in known), min if minimize else max)
    series = [Series("trial", [value for _, value in known], 0, dots=True), Series("best so far", list(so_far), 1)]
    return Chart("progress", metric, "trial", [number for number, _ in known], series)


def draw_epochs(shown: Sequence[PlottedTrial], metric: str) -> dict[str, Any]:
    """A line for each trial, by epoch; tooltips show the values."""
    lines = [trial for trial in shown if trial.epochs]
    xs, ys = [list(trial.epochs) for trial in lines], [list(trial.epochs.values()) for trial in lines]
    flat = [value for values in ys for value in values]
    low, high = min(flat), max(flat)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 0.1
    last = max(epoch for epochs in xs for epoch in epochs)
    plot = blank_plot((1 - 0.02 * last, last * 1.02 + 0.02), (low - margin, high + margin))
    _add_lines(plot, lines, xs, ys)
    points = [
        (epoch, value, trial.name, str(epoch), formatting.number(value))
        for trial in lines
        for epoch, value in trial.epochs.items()
    ]
    _add_points(plot, points, ["trial", "epoch", "value"], ["trial", "epoch", metric])
    style_axes(plot, "epoch")
    number_ticks(plot)
    return as_json(plot)


def draw_parallel(shown: Sequence[PlottedTrial], ranges: Sequence[Range], metric: str) -> dict[str, Any]:
    """A line for each trial with a value, across an axis for each hyperparameter and the last for the value."""
    lines = [trial for trial in shown if trial.value is not None]
    values = [trial.value for trial in lines if trial.value is not None]
    axes = [found for found in ranges if all(found.name in trial.parameters for trial in lines)]
    extent = (min(values), max(values))
    xs = [list(range(len(axes) + 1)) for _ in lines]
    ys = [
        [*(place(found, trial.parameters[found.name]) for found in axes), _share(trial.value, *extent)]
        for trial in lines
    ]
    plot = blank_plot((-0.25, len(axes) + 0.45), (-0.06, 1.06), height=HEIGHT)
    _add_axes(plot, axes, extent)
    _add_lines(plot, lines, xs, ys)
    points = []
    for trial, places in zip(lines, ys, strict=True):
        named = [(found.name, formatting.setting(trial.parameters[found.name])) for found in axes]
        named.append((metric, formatting.number(trial.value)))
        points += [
            (x, y, trial.name, f"{name} = {text}", formatting.number(trial.value))
            for x, (y, (name, text)) in enumerate(zip(places, named, strict=True))
        ]
    _add_points(plot, points, ["trial", "here", "value"], ["trial", "here", metric])
    style_axes(plot, "")
    plot.ygrid.visible = plot.yaxis.visible = False
    plot.xaxis.major_tick_line_color = None
    name_ticks(plot.xaxis, dict(enumerate([*(found.name for found in axes), metric])))
    return as_json(plot)


def place(found: Range, value: Any) -> float:
    """A value's position in its range, 0–1."""
    if isinstance(found, Categorical):
        return found.values.index(value) / max(1, len(found.values) - 1) if len(found.values) > 1 else 0.5
    if found.logarithmic:
        return _share(math.log(value), math.log(found.low), math.log(found.high))
    return _share(value, found.low, found.high)


def _share(value: float | None, low: float, high: float) -> float:
    assert value is not None, "the trial is complete"
    return (value - low) / (high - low) if high > low else 0.5


def _add_lines(plot: Any, lines: Sequence[PlottedTrial], xs: list[list[int]], ys: list[list[float]]) -> None:
    """The best trial on top; the worse a trial, the paler."""
    from bokeh.models import ColumnDataSource, MultiLine

    order = sorted(range(len(lines)), key=lambda at: (lines[at].is_best, lines[at].rank))
    columns = {
        "xs": [xs[at] for at in order],
        "ys": [ys[at] for at in order],
        "colour": [_BEST if lines[at].is_best else _REST for at in order],
        "alpha": [1.0 if lines[at].is_best else 0.2 + 0.5 * lines[at].rank for at in order],
        "width": [3.0 if lines[at].is_best else 1.5 for at in order],
    }
    glyph = MultiLine(xs="xs", ys="ys", line_color="colour", line_alpha="alpha", line_width="width", line_join="round")
    plot.add_glyph(ColumnDataSource(columns), glyph)


def _add_points(plot: Any, points: Sequence[tuple[Any, ...]], columns: Sequence[str], names: Sequence[str]) -> None:
    """Small dots with tooltips. points: x, y, and the columns' texts."""
    from bokeh.models import ColumnDataSource, Scatter

    table = {name: [point[at] for point in points] for at, name in enumerate(["x", "y", *columns])}
    source = ColumnDataSource(table)
    plot.add_glyph(source, Scatter(x="x", y="y", size=4, fill_color=_REST, fill_alpha=0.6, line_color=None))
    reach = plot.add_glyph(source, Scatter(x="x", y="y", size=_REACH, fill_alpha=0, line_alpha=0))
    add_tooltip(plot, reach, list(zip(names, columns, strict=True)))


def _add_axes(plot: Any, axes: Sequence[Range], extent: tuple[float, float]) -> None:
    """Vertical axes, labelled at their ends or at each of their values."""
    from bokeh.models import ColumnDataSource, Segment, Text

    count = len(axes) + 1
    plot.add_glyph(
        ColumnDataSource({"x": list(range(count)), "from": [0.0] * count, "to": [1.0] * count}),
        Segment(x0="x", x1="x", y0="from", y1="to", line_color=EDGE.light, line_width=1),
    )
    labels = [(x, y, text) for x, found in enumerate(axes) for y, text in _labels(found)]
    labels += [(count - 1, 0.0, formatting.number(extent[0])), (count - 1, 1.0, formatting.number(extent[1]))]
    x, y, text = map(list, zip(*labels, strict=True))
    plot.add_glyph(
        ColumnDataSource({"x": x, "y": y, "text": text}),
        Text(
            x="x",
            y="y",
            text="text",
            x_offset=6,
            text_baseline="middle",
            text_color=QUIET.light,
            text_font=FONT,
            text_font_size="11px",
        ),
    )


def _labels(found: Range) -> list[tuple[float, str]]:
    if isinstance(found, Categorical):
        return [(place(found, value), value) for value in found.values]
    ends = {0.0: formatting.setting(found.low), 1.0: formatting.setting(found.high)}
    return [(0.5, ends[0.0])] if found.low == found.high else list(ends.items())
