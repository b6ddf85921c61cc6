"""One HTML file about a search: the best trial, the importance of hyperparameters, and each trial."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from byoc_vision.describe.space import Categorical, Range
from byoc_vision.report import formatting
from byoc_vision.report.drawing import draw
from byoc_vision.report.html import render_page, write_page
from byoc_vision.report.views.verdict import Fact, Mood
from byoc_vision.tuning import plots
from byoc_vision.tuning.request import Request
from byoc_vision.tuning.study import BEST_EPOCH, EPOCHS, OWN, REASON, SECONDS, STATE_NAMES, Study, to_string

SECTIONS = ("Verdict", "Trials", "Search")
FEWEST_FOR_IMPORTANCES = 6  # complete trials; with fewer, importances would be noise

_MOODS: dict[TrialState, Mood] = {
    TrialState.COMPLETE: "good",
    TrialState.PRUNED: "wait",
    TrialState.FAIL: "bad",
    TrialState.RUNNING: "wait",
}


@dataclass(frozen=True)
class Line:
    """A trial in the table. parameters: their texts, and the values they are sorted by."""

    number: int
    state: str
    mood: Mood
    value: float | None
    is_best: bool
    epochs: str
    last_epoch: int
    seconds: float | None
    parameters: list[tuple[str, Any]]
    note: str


def write_tuning_page(path: Path, study: Study, request: Request) -> None:
    """Write the page of the results so far. Raises OSError."""
    write_page(path, render(study, request))


def render(study: Study, request: Request) -> str:
    trials, best, space = study.trials, study.best, study.space
    metric, shown = space.objective.metric, _plotted(study)
    drawn: dict[str, Any] = {}
    progress = plots.progress(shown, metric, space.objective.direction == "minimize")
    if progress:
        drawn |= {"progress": draw(progress), "parallel": plots.draw_parallel(shown, space.ranges, metric)}
    if any(trial.epochs for trial in shown):
        drawn["epochs"] = plots.draw_epochs(shown, metric)
    return render_page(
        "tuning.html",
        f"Search for {metric} · byoc-vision",
        SECTIONS,
        drawn,
        metric=metric,
        best=best,
        where=_where(best),
        about=_summary(request, study),
        facts=_facts(trials, best),
        progress=progress,
        has_epochs="epochs" in drawn,
        axes=len(space.ranges) + 1,
        importances=importances(study),
        names=[found.name for found in space.ranges],
        lines=[_line(trial, best, space.ranges) for trial in trials],
        ranges=[_range_row(found, request.own, best) for found in space.ranges],
        fixed=sorted(space.fixed.items()),
        hyperparameters=json.dumps(study.hyperparameters(best.params), indent=2) if best else "",
    )


def importances(study: Study) -> list[tuple[str, float]]:
    """How much each hyperparameter distinguishes the best trials, as shares, the largest first.

    PED-ANOVA (Watanabe et al., 2023); empty with too few trials.
    """
    complete = [trial for trial in study.finished if trial.state == TrialState.COMPLETE]
    if len(complete) < FEWEST_FOR_IMPORTANCES:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(study.optuna, evaluator=PedAnovaImportanceEvaluator())
    return sorted(found.items(), key=lambda item: -item[1])


def _plotted(study: Study) -> list[plots.PlottedTrial]:
    best, known = study.best, [trial for trial in study.trials if trial.params]
    complete = sorted(
        (trial for trial in known if trial.state == TrialState.COMPLETE),
        key=lambda trial: trial.value or 0.0,
        reverse=study.space.objective.direction == "minimize",
    )
    ranks = {trial.number: rank / max(1, len(complete) - 1) for rank, trial in enumerate(complete)}
    return [
        plots.PlottedTrial(
            trial.number,
            trial.value if trial.state == TrialState.COMPLETE else None,
            ranks.get(trial.number, 0.0),
            best is not None and trial.number == best.number,
            {epoch: value for epoch, value in sorted(trial.intermediate_values.items()) if value == value},
            trial.params,
        )
        for trial in known
    ]


def _where(best: FrozenTrial | None) -> str:
    if best is None:
        return "No trial is complete yet"
    own = "; the unchanged recipe" if OWN in best.user_attrs else ""
    return f"trial {best.number}, after epoch {best.user_attrs.get(BEST_EPOCH, formatting.NOTHING)}{own}"


def _summary(request: Request, study: Study) -> str:
    task, data = request.recipe.task, request.data
    images = " and ".join(f"{formatting.count(number)} {split}" for split, number in data["pictures"].items())
    wanted = "lowest" if study.space.objective.direction == "minimize" else "highest"
    return f"{task.capitalize()} of {images} images, for the {wanted} {study.space.objective.metric}."


def _facts(trials: list[FrozenTrial], best: FrozenTrial | None) -> list[Fact]:
    facts, own = [], next((trial for trial in trials if OWN in trial.user_attrs), None)
    if own and best and own.state == TrialState.COMPLETE and own.value is not None and best.value is not None:
        gain = formatting.number(abs(best.value - own.value))
        note = "no better trial yet" if best.number == own.number else f"the best trial is {gain} better"
        facts.append(Fact("Unchanged recipe", formatting.number(own.value), note))
    counts = {state: sum(trial.state == state for trial in trials) for state in STATE_NAMES}
    named = [f"{counts[state]} {name}" for state, name in STATE_NAMES.items() if counts[state]]
    facts.append(Fact("Trials", formatting.count(len(trials)), ", ".join(named)))
    seconds = sum(trial.user_attrs.get(SECONDS, 0.0) for trial in trials)
    facts.append(Fact("Training time", formatting.duration(seconds), "of all trials"))
    planned, done = _planned_and_done(trials)
    if planned > done:
        facts.append(
            Fact("Epochs saved", formatting.count(planned - done), f"of {formatting.count(planned)}, by pruning")
        )
    return facts


def _planned_and_done(trials: list[FrozenTrial]) -> tuple[int, int]:
    """The number of epochs without pruning, and the actual number."""
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    done = sum(len(trial.intermediate_values) for trial in trials)
    saved = sum(max(0, trial.user_attrs.get(EPOCHS, 0) - len(trial.intermediate_values)) for trial in pruned)
    return done + saved, done


def _line(trial: FrozenTrial, best: FrozenTrial | None, ranges: tuple[Range, ...]) -> Line:
    planned = trial.user_attrs.get(EPOCHS)
    done = len(trial.intermediate_values)
    known = [(found.name, trial.params.get(found.name)) for found in ranges]
    return Line(
        number=trial.number,
        state=STATE_NAMES[trial.state],
        mood=_MOODS[trial.state],
        value=trial.value,
        is_best=best is not None and trial.number == best.number,
        epochs=f"{done} of {planned}" if planned else str(done),
        last_epoch=done,
        seconds=trial.user_attrs.get(SECONDS),
        parameters=[(formatting.NOTHING, -1) if value is None else (to_string(value), value) for _, value in known],
        note=trial.user_attrs.get(REASON) or ("the unchanged recipe" if OWN in trial.user_attrs else ""),
    )


def _range_row(
    found: Range, own: Mapping[str, float | int | str], best: FrozenTrial | None
) -> tuple[str, str, str, str]:
    """Its name, its range, the recipe's value, the best trial's value."""
    if isinstance(found, Categorical):
        text = ", ".join(found.values)
    else:
        text = f"{formatting.setting(found.low)} to {formatting.setting(found.high)}"
        text += ", logarithmic" if found.logarithmic else ""
    before = to_string(own[found.name]) if found.name in own else formatting.NOTHING
    after = to_string(best.params[found.name]) if best and found.name in best.params else formatting.NOTHING
    return found.name, text, before, after
