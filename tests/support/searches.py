"""Searches as they could have gone: studies in real databases, without any training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.recipe import recipe_of
from byoc_vision.tuning.folder import SearchFolder
from byoc_vision.tuning.request import Request, own_values
from byoc_vision.tuning.study import BEST_EPOCH, EPOCHS, REASON, SECONDS, STATUS, Study

RECIPE = {"task": "classification", "model": "test_resnet", "epochs": "4", "learning_rate": "0.001"}
DATA = {"pictures": {"train": 40, "validation": 8}, "classes": ["cat", "dog"], "digest": "0123456789abcdef"}


def request(metric: str | None = None, data: Mapping[str, Any] = DATA, **changes: str) -> Request:
    recipe = recipe_of(RECIPE | changes)
    space = search_space(recipe, metric)
    return Request(recipe, space, own_values(recipe, space), {"train": Path("/pictures")}, data)


def study(root: Path, asked: Request | None = None, seed: int = 0) -> Study:
    folder = SearchFolder(root)
    folder.prepare()
    return Study(folder, asked or request(), seed)


def complete(searched: Study, figures: list[float], seconds: float = 12.0) -> int:
    """A trial with these figures, one an epoch: its number."""
    running = next_trial(searched)
    for epoch, figure in enumerate(figures, start=1):
        searched.should_prune(running.trial, epoch, figure)
    best = max(range(len(figures)), key=figures.__getitem__)
    searched.note(running.trial, **{BEST_EPOCH: best + 1, EPOCHS: len(figures), SECONDS: seconds})
    searched.end(running, TrialState.COMPLETE, figures[best])
    return running.number


def prune(searched: Study, figures: list[float], epochs: int = 4) -> int:
    running = next_trial(searched)
    for epoch, figure in enumerate(figures, start=1):
        searched.should_prune(running.trial, epoch, figure)
    searched.note(running.trial, **{EPOCHS: epochs, SECONDS: 3.0})
    searched.end(running, TrialState.PRUNED)
    return running.number


def fail(searched: Study, reason: str, status: int = 2) -> int:
    running = next_trial(searched)
    searched.note(running.trial, **{REASON: reason, STATUS: status, EPOCHS: 4, SECONDS: 1.0})
    searched.end(running, TrialState.FAIL)
    return running.number


def next_trial(searched: Study) -> Any:
    running = searched.next_trial(1000)
    assert running is not None
    return running


def whole_search(root: Path, asked: Request | None = None) -> Study:
    """Twelve trials of all kinds; trial 9 is the best."""
    searched = study(root, asked)
    for place in range(8):
        complete(searched, [0.2 + 0.02 * place, 0.4 + 0.03 * place, 0.5 + 0.03 * place, 0.45 + 0.03 * place])
    prune(searched, [0.1, 0.11])
    complete(searched, [0.5, 0.7, 0.8, 0.9123])
    fail(searched, "Resources: <b>there</b> is too little memory for batch_size=32; take a smaller one", status=4)
    next_trial(searched)
    return searched
