"""Several jobs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from byoc_vision.report import charts, formatting
from byoc_vision.report.charts import Chart, Mark, Series, finite, objective_name, thinned
from byoc_vision.report.record import Record
from byoc_vision.report.views.verdict import objective_value, test_value, verdict


@dataclass(frozen=True)
class Line:
    """A value of each job. best: the places of the best jobs; empty if all are equal."""

    name: str
    values: list[str]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Comparison:
    """names: of the jobs, each unique. settings: the hyperparameters that differ."""

    names: list[str]
    states: list[tuple[str, str]]
    metrics: list[Line]
    settings: list[Line]
    charts: list[Chart]


def comparison(records: Sequence[Record], folders: Sequence[str]) -> Comparison:
    """folders: the names of jobs whose record has none."""
    names = distinct([record.name or folder for record, folder in zip(records, folders, strict=True)])
    verdicts = [verdict(record) for record in records]
    return Comparison(
        names=names,
        states=[(entry.state, entry.mood) for entry in verdicts],
        metrics=_metrics(records),
        settings=_differing(records),
        charts=_charts(records, names),
    )


def distinct(names: Sequence[str]) -> list[str]:
    """With a number behind names that occur more than once."""
    seen: Counter[str] = Counter()
    often, result = Counter(names), []
    for name in names:
        seen[name] += 1
        result.append(f"{name} ({seen[name]})" if often[name] > 1 else name)
    return result


def _metrics(records: Sequence[Record]) -> list[Line]:
    objectives = [objective_name(record) for record in records]
    same = len(set(objectives)) == 1
    highest = records[0].objective_mode == "max"
    if same:
        name = formatting.heading(objectives[0])
        deciding = [
            _ranked(f"{name}, validation", records, objective_value, highest),
            _ranked(f"{name}, test", records, test_value, highest),
            *_other_metrics(records, objectives[0]),
        ]
    else:
        deciding = [_line("Objective", records, _objective)]
    lines = [
        *deciding,
        _line("Best epoch", records, lambda record: formatting.count(record.best_epoch)),
        _line("Epochs", records, lambda record: f"{len(record.epochs)} of {record.planned_epochs}"),
        _line("Duration", records, lambda record: formatting.duration(record.seconds or None)),
        _line("GPU time", records, lambda record: formatting.duration(record.gpu_seconds or None)),
        _line("Model", records, lambda record: record.run.model or formatting.NOTHING),
        _line("Weights", records, lambda record: formatting.count(record.run.parameters or None)),
        _line("Hardware", records, lambda record: record.run.hardware or formatting.NOTHING),
        _line("Findings", records, lambda record: ", ".join(_rules(record)) or "none"),
    ]
    return [line for line in lines if set(line.values) != {formatting.NOTHING}]


def _objective(record: Record) -> str:
    return f"{formatting.title(objective_name(record))} {formatting.number(objective_value(record))}"


def _other_metrics(records: Sequence[Record], objective: str) -> list[Line]:
    """The validation metrics of the best epochs, of all classes together."""
    names = dict.fromkeys(name for record in records for name in record.validation)
    shown = [name for name in names if not name.startswith(charts.CLASS_METRICS) and name != objective]
    return [
        _ranked(
            f"{formatting.heading(name)}, validation",
            records,
            lambda record, name=name: record.validation.get(name),  # type: ignore[misc]
            name != "loss",
        )
        for name in shown
    ]


def _rules(record: Record) -> list[str]:
    return list(dict.fromkeys(finding.rule for finding in record.findings))


def _line(name: str, records: Sequence[Record], text: Callable[[Record], str]) -> Line:
    return Line(name, [text(record) for record in records])


def _ranked(
    name: str,
    records: Sequence[Record],
    value: Callable[[Record], float | None],
    highest: bool,
) -> Line:
    """highest: whether the highest value is the best, or the lowest."""
    values = [finite(value(record)) for record in records]
    known = [entry for entry in values if entry is not None]
    best: frozenset[int] = frozenset()
    if len(set(known)) > 1:
        goal = max(known) if highest else min(known)
        best = frozenset(place for place, entry in enumerate(values) if entry == goal)
    return Line(name, [formatting.number(entry) for entry in values], best)


def _differing(records: Sequence[Record]) -> list[Line]:
    names = dict.fromkeys(name for record in records for name in record.run.hyperparameters)
    lines = [
        _line(name, records, lambda record, name=name: formatting.setting(record.run.hyperparameters.get(name)))  # type: ignore[misc]
        for name in names
    ]
    return [line for line in lines if len(set(line.values)) > 1]


def _charts(records: Sequence[Record], names: Sequence[str]) -> list[Chart]:
    objective = objective_name(records[0])
    found = [
        _overlaid("metrics", f"Validation: {formatting.title(objective)}", records, names, objective),
        _overlaid("loss", "Validation: loss", records, names, "loss") if objective != "loss" else None,
        _overlaid("training", "Training: loss", records, names, None),
    ]
    return [chart for chart in found if chart]


def _overlaid(
    key: str, title: str, records: Sequence[Record], names: Sequence[str], metric: str | None
) -> Chart | None:
    """A line for each job. metric: of the validation; None: the training loss."""
    shown = {epoch.epoch for record in records for epoch in thinned(record.epochs, record.best_epoch)}
    x = sorted(shown)
    series = []
    for place, (record, name) in enumerate(zip(records, names, strict=True)):
        known = {
            epoch.epoch: finite(epoch.train_loss if metric is None else epoch.validation.get(metric))
            for epoch in record.epochs
        }
        series.append(Series(name, [known.get(epoch) for epoch in x], place, dashed=place % 2 == 1))
    if all(value is None for line in series for value in line.values):
        return None
    marks = [Mark(record.best_epoch, "") for record in records if record.best_epoch is not None]
    return Chart(key, title, "epoch", x, series, marks=marks, may_be_log=key != "metrics")
