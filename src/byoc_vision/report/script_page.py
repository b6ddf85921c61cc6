"""The page of a job that ran a user's own script: the curves of what it recorded, and what rules found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from byoc_vision.report.charts import MOST_POINTS, Chart, Series, finite
from byoc_vision.report.drawing import draw
from byoc_vision.report.html import render_page, write_page
from byoc_vision.report.record import Finding

MOST_CURVES = 24


@dataclass(frozen=True)
class StepCurve:
    """The values of one name in one mode, such as `train`, by the mode's steps."""

    name: str
    mode: str
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class EpochCurve:
    """The means of a loss in each epoch's training and validation; None without values."""

    name: str
    training: Sequence[float | None]
    validation: Sequence[float | None]


def write_script_report(
    path: Path, name: str, epochs: Sequence[EpochCurve], steps: Sequence[StepCurve], findings: Sequence[Finding]
) -> None:
    """Write the page. Raises OSError."""
    charts = [_epochs(number, curve) for number, curve in enumerate(epochs)]
    charts += [_steps(number, curve) for number, curve in enumerate(steps[: MOST_CURVES - len(charts)])]
    plots = {chart.key: draw(chart) for chart in charts}
    left_out = len(epochs) + len(steps) - len(charts)
    title, sections = f"{name or 'Training script'} · byoc-vision", ("Findings", "Curves")
    write_page(
        path,
        render_page(
            "script.html", title, sections, plots, name=name, charts=charts, findings=findings, left_out=left_out
        ),
    )


def _epochs(number: int, curve: EpochCurve) -> Chart:
    series = [
        Series("training", [finite(value) for value in curve.training], 0, dashed=True),
        Series("validation", [finite(value) for value in curve.validation], 1),
    ]
    x = list(range(1, len(curve.training) + 1))
    return Chart(f"epochs-{number}", curve.name, "epoch", x, series, may_be_log=True)


def _steps(number: int, curve: StepCurve) -> Chart:
    """At most so many points; each is then the mean of the same number of steps."""
    each = max(1, -(-len(curve.values) // MOST_POINTS))
    starts = range(0, len(curve.values), each)
    x = [curve.steps[start] for start in starts]
    means = [finite(float(np.mean(curve.values[start : start + each]))) for start in starts]
    title = f"{curve.name}, {curve.mode}"
    return Chart(f"steps-{number}", title, "step", x, [Series(curve.mode, means, 0)], may_be_log=True)
