"""Charts as Bokeh's JSON. The page draws them; in the dark scheme it replaces each colour by its counterpart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from byoc_vision.report.charts import Chart, Series
from byoc_vision.report.palette import EDGE, INK, LINE, QUIET, series_shade

HEIGHT = 240  # CSS pixels
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif"
_MARKED_POINTS = 60  # of a longer line the points are not drawn as dots


@cache
def library() -> str:
    """BokehJS without widgets and tables (BSD-3-Clause; its licence stands at the top)."""
    return (files("bokeh") / "server/static/js/bokeh.min.js").read_text(encoding="utf-8")


def draw(chart: Chart) -> dict[str, Any]:
    """The JSON that `Bokeh.embed.embed_item` takes."""
    from bokeh.models import ColumnDataSource, Line, Scatter
    from bokeh.models.annotations import Span

    y_extent = _extent(chart)
    plot = blank_plot(_x_extent(chart), y_extent, logarithmic=chart.logarithmic)
    source = ColumnDataSource(_columns(chart))
    for place, series in enumerate(chart.series):
        colour = series_shade(series.colour).light
        dash: list[int] = [5, 4] if series.dashed else []
        if series.level:
            level = float(next(value for value in series.values if value is not None))
            plot.add_layout(Span(location=level, dimension="width", line_color=colour, line_width=2, line_dash=dash))
            continue
        if not series.dots:
            plot.add_glyph(source, Line(x="x", y=f"y{place}", line_color=colour, line_width=2, line_dash=dash))
        if series.dots or len(chart.x) <= _MARKED_POINTS:
            size = 5 if len(chart.x) > 1 else 9
            plot.add_glyph(source, Scatter(x="x", y=f"y{place}", size=size, fill_color=colour, line_color=colour))
    style_axes(plot, chart.x_name)
    number_ticks(plot)
    if chart.x_ticks:
        name_ticks(plot.xaxis, {float(x): chart.format_x(x) for x in chart.x_ticks})
    if chart.y_ticks:
        name_ticks(plot.yaxis, {float(y): chart.format_y(y) for y in chart.y_ticks})
    _add_marks(plot, chart, y_extent[1])
    _add_hover(plot, chart, source)
    return as_json(plot)


def blank_plot(
    x_extent: tuple[float, float], y_extent: tuple[float, float], *, height: int = HEIGHT, logarithmic: bool = False
) -> Any:
    """A Bokeh figure without tools, as wide as its container, on the page's background. logarithmic: its y axis."""
    # bokeh takes half a second to import; only pages with charts pay for it.
    from bokeh.models import Range1d
    from bokeh.plotting import figure

    return figure(
        height=height,
        sizing_mode="stretch_width",
        x_range=Range1d(start=x_extent[0], end=x_extent[1]),
        y_range=Range1d(start=y_extent[0], end=y_extent[1]),
        y_axis_type="log" if logarithmic else "linear",
        toolbar_location=None,
        tools="",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border_right=12,
        min_border_top=6,
    )


def as_json(plot: Any) -> dict[str, Any]:
    """The same as `bokeh.embed.json_item` in half the time; that also handles plots of an existing document."""
    from bokeh import __version__ as version
    from bokeh.document import Document

    document = Document()
    document.add_root(plot)
    return {"target_id": None, "root_id": plot.id, "doc": document.to_json(deferred=False), "version": version}


def _columns(chart: Chart) -> dict[str, Any]:
    """x, the lines' y, the tooltip's texts of all of them, and `anchor`: the point that the tooltip points to."""
    lines = [_numbers(series) for series in chart.series]
    known = np.stack(lines)
    first = np.argmax(~np.isnan(known), axis=0)
    columns: dict[str, Any] = {
        "x": np.asarray(chart.x, np.float64),
        "anchor": known[first, np.arange(known.shape[1])],
        "x_text": [chart.format_x(x) for x in chart.x],
    }
    for place, (line, series) in enumerate(zip(lines, chart.series, strict=True)):
        columns[f"y{place}"] = line.astype(np.float32)
        columns[f"text{place}"] = [chart.format_y(value) for value in series.values]
    return columns


def _numbers(series: Series) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in series.values], np.float64)


def _x_extent(chart: Chart) -> tuple[float, float]:
    margin = (chart.x[-1] - chart.x[0]) * 0.02 or 0.5
    return chart.x[0] - margin, chart.x[-1] + margin


def _extent(chart: Chart) -> tuple[float, float]:
    values = np.concatenate([_numbers(series) for series in chart.series])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if chart.y_ticks:
        high = max(high, chart.y_ticks[-1]) or 1.0
        return -0.03 * high, 1.06 * high
    if chart.logarithmic:
        return low / 1.3, high * 1.5
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 0.1
    return low - margin, high + 2 * margin  # room for the marks' labels


def style_axes(plot: Any, x_name: str) -> None:
    """Unobtrusive axes, and horizontal grid lines."""
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.axis_line_color = None
        axis.major_tick_line_color = EDGE.light
        axis.minor_tick_line_color = None
        axis.major_tick_out, axis.major_tick_in = 3, 0
        axis.major_label_text_color = axis.axis_label_text_color = QUIET.light
        axis.major_label_text_font = axis.axis_label_text_font = FONT
        axis.major_label_text_font_size = axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
    plot.xaxis.axis_label = x_name
    plot.xgrid.grid_line_color = None
    plot.ygrid.grid_line_color = LINE.light


def number_ticks(plot: Any) -> None:
    """Ticks: whole numbers along x, four digits along y."""
    from bokeh.models import BasicTicker, NumeralTickFormatter, PrintfTickFormatter

    plot.xaxis.ticker = BasicTicker(desired_num_ticks=8, min_interval=1, num_minor_ticks=0)
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    plot.yaxis.formatter = PrintfTickFormatter(format="%.4g")


def name_ticks(axis: Any, names: Mapping[float, str]) -> None:
    """Put these labels at these places of an axis."""
    from bokeh.models import FixedTicker

    axis.ticker = FixedTicker(ticks=list(names))
    axis.major_label_overrides = dict(names)


def _add_marks(plot: Any, chart: Chart, high: float) -> None:
    from bokeh.models.annotations import Label, Span

    for mark in chart.marks:
        right = mark.x > (chart.x[0] + chart.x[-1]) / 2
        line = Span(location=mark.x, dimension="height", line_color=EDGE.light, line_dash=[2, 3], line_width=1)
        plot.add_layout(line)
        text = Label(
            x=mark.x,
            y=high,
            x_offset=-5 if right else 5,
            text=mark.text,
            text_align="right" if right else "left",
            text_baseline="top",
            text_color=INK.light,
            text_font=FONT,
            text_font_size="12px",
        )
        plot.add_layout(text)


def _add_hover(plot: Any, chart: Chart, source: Any) -> None:
    """One tooltip with the values of all lines, at any height of the pointer."""
    from bokeh.models import CrosshairTool, Line, Scatter

    # The nearest point counts; a single point is as wide as the plot.
    line = Line(x="x", y="anchor", line_alpha=0)
    point = Scatter(x="x", y="anchor", size=2000, fill_alpha=0, line_alpha=0)
    anchor = plot.add_glyph(source, line if len(chart.x) > 1 else point)
    rows = [(chart.x_name, "x_text"), *((series.name, f"text{place}") for place, series in enumerate(chart.series))]
    add_tooltip(plot, anchor, rows, mode="vline")
    plot.add_tools(CrosshairTool(dimensions="height", line_color=EDGE.light, line_alpha=0.6))


def add_tooltip(
    plot: Any, anchor: Any, rows: Sequence[tuple[str, str]], *, mode: Literal["mouse", "vline"] = "mouse"
) -> None:
    """Show a box for the nearest point of `anchor`, in the page's colours.

    rows: names and columns of `anchor`'s source. Bokeh replaces a column's name behind an @ by its text.
    """
    from bokeh.models import HoverTool

    lines = [
        f'<span style="color: var(--quiet)">{_plain(name)}: </span><span>@{column}</span>' for name, column in rows
    ]
    box = f'<div style="display: grid; grid-template-columns: auto auto; gap: 2px 8px">{"".join(lines)}</div>'
    plot.add_tools(
        HoverTool(renderers=[anchor], tooltips=box, mode=mode, limit=1, show_arrow=False, attachment="horizontal")
    )


def _plain(name: str) -> str:
    """Text in HTML, with @ and $ escaped, which Bokeh would read as columns and variables."""
    return escape(name).replace("@", "&#64;").replace("$", "&#36;")
