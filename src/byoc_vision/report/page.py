"""One HTML file that says what happened in a job, or how several jobs compare: it asks nothing of any network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from byoc_vision.errors import DataError
from byoc_vision.report import charts
from byoc_vision.report.charts import Chart
from byoc_vision.report.drawing import draw
from byoc_vision.report.images import Images, inline
from byoc_vision.report.record import REPORT_FILE, Record, read_record
from byoc_vision.report.shell import rendered, write
from byoc_vision.report.sources import opened, read_preflight
from byoc_vision.report.views.comparison import comparison
from byoc_vision.report.views.data import counted, data
from byoc_vision.report.views.galleries import image_names
from byoc_vision.report.views.predictions import answers
from byoc_vision.report.views.run import running
from byoc_vision.report.views.times import operators, steps
from byoc_vision.report.views.verdict import verdict

LIMIT = 4_900_000  # bytes of a page
IMAGES_LIMIT = 3_000_000  # of them for images

_SECTIONS = ("Verdict", "Curves", "Answers", "Data", "Time", "Run")
_SECTIONS_OF_SEVERAL = ("Figures", "Curves", "Settings")


def write_report(folder: Path) -> Path:
    """Make `report.html` in a job's output folder of the record that lies there. Raises DataError and OSError."""
    path = folder / REPORT_FILE
    write(path, render([(read_record(folder), folder)]))
    return path


def report_on(sources: Sequence[Path], output: Path | None = None) -> Path:
    """The page of one job, or of several side by side: where it was written.

    sources: output/data folders or output.tar.gz archives. output: by default report.html in the job's folder or
    beside its archive; for several jobs comparison.html in the current folder. Raises DataError that names a source
    that is no job's output, and OSError.
    """
    with ExitStack() as stack:
        folders = [stack.enter_context(opened(source)) for source in sources]
        page = render([(read_record(folder), folder) for folder in folders], [_called(source) for source in sources])
        beside = folders[0] if sources[0].is_dir() else sources[0].parent
        path = output or (beside / REPORT_FILE if len(sources) == 1 else Path("comparison.html"))
        write(path, page)
    return path


def render(records: Sequence[tuple[Record, Path]], names: Sequence[str] | None = None) -> str:
    """The page of these jobs, each with the folder it left its images in.

    names: what jobs without a name are called when there are several; by default as their folders are.
    """
    if len(records) > 1:
        called = names or [_called(folder) for _, folder in records]
        return _side_by_side([record for record, _ in records], called)
    return _alone(*records[0])


def _alone(record: Record, folder: Path) -> str:
    """Images take what the rest of the page leaves them."""
    images = inline(folder, image_names(record), IMAGES_LIMIT)
    page = _page(record, folder, images)
    excess = len(page.encode()) - LIMIT
    if excess <= 0:
        return page
    return _page(record, folder, inline(folder, image_names(record), max(0, images.size - excess)))


def _page(record: Record, folder: Path, images: Images) -> str:
    shown = {"curves": charts.curves(record), "times": _time_charts(record)}
    return rendered(
        "report.html",
        f"{record.name or 'Training report'} · byoc-vision",
        _SECTIONS,
        _drawn([*shown["curves"], *shown["times"]]),
        record=record,
        verdict=verdict(record),
        charts=shown,
        epochs=charts.thinned(record.epochs, keep=record.best_epoch),
        epoch_figures=["loss", *charts.overall_figures(record)] if record.epochs else [],
        answers=answers(record),
        images=images,
        augmented=[url for name in record.augmented if (url := images.url(name))],
        steps=steps(record.times),
        operators=operators(record.times),
        running=running(record),
        **_data(record, folder),
    )


def _data(record: Record, folder: Path) -> dict[str, Any]:
    """A check of the data that cannot be read is no reason to say nothing of all the rest."""
    said: dict[str, Any] = {"data": None, "data_problem": "", "counted": counted(record)}
    try:
        preflight = read_preflight(folder)
    except DataError as error:
        return said | {"data_problem": f"{error}."}
    return said | {"data": data(preflight) if preflight else None}


def _time_charts(record: Record) -> list[Chart]:
    speed = charts.speed(record)
    return [*([speed] if speed else []), *charts.machine(record.times)]


def _side_by_side(records: Sequence[Record], names: Sequence[str]) -> str:
    compared = comparison(records, names)
    title = f"{len(records)} jobs side by side · byoc-vision"
    return rendered("comparison.html", title, _SECTIONS_OF_SEVERAL, _drawn(compared.charts), comparison=compared)


def _drawn(shown: Sequence[Chart]) -> dict[str, dict[str, Any]]:
    return {chart.key: draw(chart) for chart in shown}


def _called(source: Path) -> str:
    """A job is in JOB/output/data, or in JOB/output/output.tar.gz."""
    parts = [part for part in source.absolute().parts if part not in ("/", "output", "data", "output.tar.gz")]
    return parts[-1] if parts else str(source)
