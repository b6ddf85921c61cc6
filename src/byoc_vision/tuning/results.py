"""A search's results beside its study: the best model and its hyperparameters, a table, and a page."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from byoc_vision.artifact import OPENVINO_FOLDER
from byoc_vision.atomic_write import write_csv, write_whole
from byoc_vision.errors import UserError
from byoc_vision.tuning.folder import SearchFolder
from byoc_vision.tuning.locks import locked
from byoc_vision.tuning.request import Request
from byoc_vision.tuning.study import BEST_EPOCH, EPOCHS, REASON, SECONDS, STATE_NAMES, Study, to_string
from byoc_vision.tuning.trial_job import TrialJob

logger = logging.getLogger(__name__)


def keep_best(folder: SearchFolder, study: Study) -> None:
    """Move the best trial's model to the search's folder and remove other trials' weights. Idempotent."""
    with locked(folder.study_lock):
        best = study.best
        for trial in study.all_finished:
            paths = folder.trial(trial.number)
            if best is not None and trial.number == best.number:
                if paths.model.is_dir():
                    _replace(folder.model, paths.model)
                shutil.rmtree(paths.channels, ignore_errors=True)
            elif paths.root.is_dir():
                TrialJob(paths).tidy()


def complete_best(folder: SearchFolder, study: Study, request: Request) -> None:
    """Add what the best trial skipped: the OpenVINO export, and the report."""
    with locked(folder.study_lock):
        if study.best is None or not folder.model.is_dir():
            return
        if request.recipe.hyperparameters.openvino and not (folder.model / OPENVINO_FOLDER).exists():
            from byoc_vision.inference.openvino_model import export_openvino

            export_openvino(folder.model)
        if request.recipe.hyperparameters.report:
            from byoc_vision.report.page import report_on

            try:
                report_on([folder.trial(study.best.number).output_data], folder.report)
            except (OSError, UserError) as error:
                logger.warning("The best model's report could not be written: %s", error)


def write(folder: SearchFolder, study: Study, request: Request) -> None:
    """Write the best hyperparameters, the table and the page; each as a whole, so that processes do not collide."""
    from byoc_vision.tuning.page import write_tuning_page

    if best := study.best:
        text = json.dumps(study.hyperparameters(best.params), indent=2)
        write_whole(folder.best_hyperparameters, text + "\n")
    _write_table(folder.table, study)
    write_tuning_page(folder.page, study, request)


def _replace(place: Path, folder: Path) -> None:
    """Folders cannot be replaced atomically: for a moment there is none."""
    before = place.with_name(f".{place.name}-before")
    shutil.rmtree(before, ignore_errors=True)
    if place.exists():
        os.rename(place, before)
    os.rename(folder, place)
    shutil.rmtree(before, ignore_errors=True)


def _write_table(path: Path, study: Study) -> None:
    names = [found.name for found in study.space.ranges]
    metric = study.space.objective.metric
    header = ["trial", "state", metric, "best_epoch", "epochs_done", "seconds", *names, "reason"]
    write_csv(path, header, [_row(trial, names) for trial in study.finished])


def _row(trial: FrozenTrial, names: list[str]) -> list[Any]:
    """A pruned trial has the metric of its last epoch."""
    attributes = trial.user_attrs
    return [
        trial.number,
        STATE_NAMES[trial.state],
        "" if trial.value is None else f"{trial.value:.6g}",
        attributes.get(BEST_EPOCH, ""),
        f"{len(trial.intermediate_values)} of {attributes[EPOCHS]}" if EPOCHS in attributes else "",
        attributes.get(SECONDS, ""),
        *(to_string(trial.params[name]) if name in trial.params else "" for name in names),
        attributes.get(REASON, ""),
    ]
