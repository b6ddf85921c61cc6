"""One HTML file about a job, or about several jobs side by side. It is self-contained and works offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from byoc_vision import archives
from byoc_vision.errors import DataError
from byoc_vision.report import charts
from byoc_vision.report.drawing import draw
from byoc_vision.report.html import render_page, write_page
from byoc_vision.report.images import Images, inline
from byoc_vision.report.record import RECORD_FILE, REPORT_FILE, Record, read_record
from byoc_vision.report.views.comparison import comparison
from byoc_vision.report.views.data import data, data_summary, read_preflight
from byoc_vision.report.views.predictions import image_names, predictions
from byoc_vision.report.views.run import budget, environment, operators, steps
from byoc_vision.report.views.verdict import verdict

LIMIT = 4_900_000  # bytes of a page
IMAGES_LIMIT = 3_000_000  # of them for images

_SECTIONS = ("Verdict", "Curves", "Predictions", "Data", "Time", "Run")
_COMPARISON_SECTIONS = ("Metrics", "Curves", "Settings")

_JOB = archives.Wanted(
    file=RECORD_FILE,
    plural="jobs",
    missing=f"is not a job's output: {RECORD_FILE} is missing",
    remedy="name a job's output/data folder, or its output.tar.gz",
)


def write_report(folder: Path) -> Path:
    """Write `report.html` into a job's output folder, from the record there. Raises DataError and OSError."""
    path = folder / REPORT_FILE
    write_page(path, render([(read_record(folder), folder)]))
    return path


def report_on(sources: Sequence[Path], output: Path | None = None) -> Path:
    """Write the page of one job, or of several side by side; returns its path.

    sources: output/data folders or output.tar.gz archives. output: by default report.html in the job's folder or
    beside its archive; for several jobs comparison.html in the current folder. Raises DataError that names a source
    which is not a job's output, and OSError.
    """
    with ExitStack() as stack:
        folders = [stack.enter_context(open_job(source)) for source in sources]
        page = render([(read_record(folder), folder) for folder in folders], [_job_name(source) for source in sources])
        first = sources[0]
        is_unpacked = not first.is_dir() or archives.only_archive(first, REPORT_FILE)
        beside = (first if first.is_dir() else first.parent) if is_unpacked else folders[0]
        path = output or (beside / REPORT_FILE if len(sources) == 1 else Path("comparison.html"))
        write_page(path, page)
    return path


def render(jobs: Sequence[tuple[Record, Path]], names: Sequence[str] | None = None) -> str:
    """The page of these jobs, each a record and the folder with its images.

    names: of jobs whose record has no name, if there are several; by default those of their folders.
    """
    if len(jobs) == 1:
        return _render_job(*jobs[0])
    compared = comparison([record for record, _ in jobs], names or [_job_name(folder) for _, folder in jobs])
    title = f"{len(jobs)} jobs side by side · byoc-vision"
    plots = {chart.key: draw(chart) for chart in compared.charts}
    return render_page("comparison.html", title, _COMPARISON_SECTIONS, plots, comparison=compared)


def _render_job(record: Record, folder: Path) -> str:
    """Images get the bytes that the rest of the page leaves."""
    names = list(image_names(record))
    content = _content(record, folder)
    images = inline(folder, names, IMAGES_LIMIT)
    page = _render_with(images, record, content)
    if (excess := len(page.encode()) - LIMIT) > 0:
        page = _render_with(inline(folder, names, max(0, images.size - excess)), record, content)
    return page


def _render_with(images: Images, record: Record, content: Mapping[str, Any]) -> str:
    title = f"{record.name or 'Training report'} · byoc-vision"
    augmented = [url for name in record.augmented if (url := images.url(name))]
    return render_page("report.html", title, _SECTIONS, images=images, augmented=augmented, record=record, **content)


def _content(record: Record, folder: Path) -> dict[str, Any]:
    """What the templates show, apart from images."""
    shown = {"curves": charts.curves(record), "times": charts.over_time(record)}
    return {
        "plots": {chart.key: draw(chart) for group in shown.values() for chart in group},
        "charts": shown,
        "verdict": verdict(record),
        "epochs": charts.thinned(record.epochs, keep=record.best_epoch),
        "epoch_metrics": ["loss", *charts.overall_metrics(record)] if record.epochs else [],
        "predictions": predictions(record),
        "budget": budget(record),
        "steps": steps(record.times),
        "operators": operators(record.times),
        "environment": environment(record),
        **_data(record, folder),
    }


def _data(record: Record, folder: Path) -> dict[str, Any]:
    """If the data's check cannot be read, the section says so; the rest of the page stays."""
    shown: dict[str, Any] = {"data": None, "data_problem": "", "data_summary": data_summary(record)}
    try:
        preflight = read_preflight(folder)
    except DataError as error:
        return shown | {"data_problem": f"{error}."}
    return shown | {"data": data(preflight) if preflight else None}


def open_job(source: Path) -> AbstractContextManager[Path]:
    """The folder with a job's record: of a folder, a folder nested one deep, or a tar archive of either.

    Raises DataError if there is none; see `archives.opened`.
    """
    return archives.opened(source, _JOB, archives.OUTPUTS, REPORT_FILE)


def _job_name(source: Path) -> str:
    """A job is in JOB/output/data, or in JOB/output/output.tar.gz."""
    parts = [part for part in source.absolute().parts if part not in ("/", "output", "data", "output.tar.gz")]
    return parts[-1] if parts else str(source)
