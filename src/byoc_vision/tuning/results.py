"""What a search leaves beside its study: the best model and its hyperparameters, a table, and a page."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from byoc_vision.artifact import OPENVINO_FOLDER
from byoc_vision.atomic_write import renamed_into_place, write_whole
from byoc_vision.errors import UserError
from byoc_vision.tuning.folder import SearchFolder
from byoc_vision.tuning.locks import locked
from byoc_vision.tuning.request import Request
from byoc_vision.tuning.study import BEST_EPOCH, EPOCHS, REASON, SECONDS, Study, spelt
from byoc_vision.tuning.trial_job import TrialJob

logger = logging.getLogger(__name__)


def keep_best(folder: SearchFolder, study: Study) -> None:
    """Put the best trial's model where it belongs, and leave no other trial's weights. Repeated, it does nothing."""
    with locked(folder.study_lock):
        best = study.best
        for trial in study.ended:
            paths = folder.trial(trial.number)
            if best is not None and trial.number == best.number:
                if paths.model.is_dir():
                    _replace(folder.model, paths.model)
                shutil.rmtree(paths.channels, ignore_errors=True)
            elif paths.root.is_dir():
                TrialJob(paths).tidy()


def complete_best(folder: SearchFolder, study: Study, request: Request) -> None:
    """Give the best model what its trial did without: OpenVINO's form of it, and its report."""
    with locked(folder.study_lock):
        if study.best is None or not folder.model.is_dir():
            return
        if request.recipe.hyperparameters.openvino and not (folder.model / OPENVINO_FOLDER).exists():
            from byoc_vision.training.openvino_export import leave_compiled

            leave_compiled(folder.model)
        if request.recipe.hyperparameters.report:
            from byoc_vision.report.page import report_on

            try:
                report_on([folder.trial(study.best.number).output_data], folder.report)
            except (OSError, UserError) as error:
                logger.warning("The best model's report could not be written: %s", error)


def write(folder: SearchFolder, study: Study, request: Request) -> None:
    """Write the best hyperparameters, the table and the page; each whole, so that processes may do so at once."""
    from byoc_vision.tuning.page import write_page

    if best := study.best:
        text = json.dumps(study.hyperparameters(best.params), indent=2)
        write_whole(folder.best_hyperparameters, text + "\n")
    _write_table(folder.table, study)
    write_page(folder.page, study, request)


def _replace(place: Path, folder: Path) -> None:
    """Folders cannot take each other's place: for a moment there is none."""
    before = place.with_name(f".{place.name}-before")
    shutil.rmtree(before, ignore_errors=True)
    if place.exists():
        os.rename(place, before)
    os.rename(folder, place)
    shutil.rmtree(before, ignore_errors=True)


def _write_table(path: Path, study: Study) -> None:
    names = [found.name for found in study.space.ranges]
    figure = study.space.objective.metric
    with renamed_into_place(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["trial", "state", figure, "best_epoch", "epochs_done", "seconds", *names, "reason"])
        for trial in study.over:
            table.writerow(_row(trial, names))


def _row(trial: FrozenTrial, names: list[str]) -> list[Any]:
    """Of a pruned trial, the figure is that of its last epoch."""
    noted = trial.user_attrs
    return [
        trial.number,
        state_of(trial),
        "" if trial.value is None else f"{trial.value:.6g}",
        noted.get(BEST_EPOCH, ""),
        f"{len(trial.intermediate_values)} of {noted[EPOCHS]}" if EPOCHS in noted else "",
        noted.get(SECONDS, ""),
        *(spelt(trial.params[name]) if name in trial.params else "" for name in names),
        noted.get(REASON, ""),
    ]


def state_of(trial: FrozenTrial) -> str:
    """In a word."""
    named = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return named.get(trial.state, "running")
