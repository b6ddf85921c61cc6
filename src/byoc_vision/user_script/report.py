"""What a user's own training script recorded through smdebug: its curves, and the rules that need losses alone."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from byoc_vision.evaluation.epoch_record import EpochRecord
from byoc_vision.health.facts import EpochFacts
from byoc_vision.health.learning_rules import LossNotDecreasing, Overfit, Overtraining
from byoc_vision.health.rule import Rule
from byoc_vision.report.record import REPORT_FILE, Finding
from byoc_vision.report.script_page import EpochCurve, StepCurve, write_script_report

VALUES_PATTERN = "scalars-*.jsonl"  # smdebug.core.records says what is in them

_LOSSES, _TRAIN, _EVAL = "losses", "TRAIN", "EVAL"
_MODES = {_TRAIN: "training", _EVAL: "validation", "PREDICT": "prediction", "GLOBAL": "all modes"}
# The rules' own remedies are hyperparameters of this image's training.
_RULES: dict[type[Rule[EpochFacts]], str] = {
    LossNotDecreasing: "try a learning rate ten times lower, then ten times higher; check that the labels are right",
    Overfit: "use more images, augmentation, a smaller model or weight decay; keep the weights of the best epoch",
    Overtraining: "stop training when the validation loss rises, and keep the weights of the epoch with the lowest one",
}

logger = logging.getLogger(__name__)


class _Value(NamedTuple):
    name: str
    collection: str
    mode: str
    step: int
    global_step: int
    value: float


def report_on_script(folders: Sequence[Path], output: Path, name: str = "") -> Path | None:
    """Write the report of what lies below the folders; its path, or None if the script recorded nothing.

    What the rules find is logged, too. A report that cannot be made is logged and costs the job nothing.
    """
    try:
        values = sorted(_read(folders), key=lambda value: value.global_step)
        if not values:
            return None
        losses = _epoch_curves(values)
        findings = [finding for curve in losses for finding in find(curve)]
        for finding in findings:
            logger.warning("%s: %s. %s", finding.rule, finding.evidence, finding.remedy)
        path = output / REPORT_FILE
        write_script_report(path, name, losses, _step_curves(values), findings)
    except Exception:
        logger.exception("the report of the script's losses could not be written")
        return None
    return path


def find(curve: EpochCurve) -> Iterator[Finding]:
    """What the rules say of a loss after its last epoch."""
    records = [
        EpochRecord(number, math.nan, train, {"loss": validation} if validation is not None else {}, seconds=0.0)
        for number, (train, validation) in enumerate(zip(curve.training, curve.validation, strict=True), start=1)
        if train is not None
    ]
    if not records:
        return
    facts = EpochFacts(records, objective="loss", mode="min", planned=len(records))
    for rule, remedy in _RULES.items():
        sign = rule().judge(facts)
        if sign is not None:
            evidence = f"{curve.name}: {sign.evidence}"
            yield Finding(rule=rule.name(), epoch=records[-1].epoch, evidence=evidence, remedy=remedy)


def _read(folders: Sequence[Path]) -> Iterator[_Value]:
    """A line that is not whole, of a process that was killed, is left out."""
    files = {file.resolve() for folder in folders for file in folder.rglob(VALUES_PATTERN)}
    for file in sorted(files):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry: dict[str, Any] = json.loads(line)
                yield _Value(**entry | {"value": float(entry["value"])})
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                logger.warning("a line of %s cannot be read (%s); it is left out", file, error)


def _epoch_curves(values: Sequence[_Value]) -> list[EpochCurve]:
    """Of the losses. An epoch is training followed by validation; without validation all steps are one epoch."""
    curves = []
    for name in dict.fromkeys(value.name for value in values if value.collection == _LOSSES):
        epochs: list[dict[str, list[float]]] = []
        for value in (value for value in values if value.name == name and value.mode in (_TRAIN, _EVAL)):
            if not epochs or (value.mode == _TRAIN and epochs[-1][_EVAL]):
                epochs.append({_TRAIN: [], _EVAL: []})
            epochs[-1][value.mode].append(value.value)
        if len(epochs) > 1:
            curves.append(EpochCurve(name, *([_mean(epoch[mode]) for epoch in epochs] for mode in (_TRAIN, _EVAL))))
    return curves


def _step_curves(values: Sequence[_Value]) -> list[StepCurve]:
    groups: dict[tuple[str, str], list[_Value]] = {}
    for value in values:
        groups.setdefault((value.name, value.mode), []).append(value)
    return [
        StepCurve(name, _MODES.get(mode, mode), [one.step for one in group], [one.value for one in group])
        for (name, mode), group in groups.items()
    ]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
