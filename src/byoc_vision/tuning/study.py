"""The trials of a search and their results, in a database that processes share.

Optuna proposes (TPE, Bergstra et al., 2011) and prunes (the median rule of Golovin et al., 2017). All state is in the
database, and each proposal is seeded by the number of trials, so that resumed and parallel searches propose nothing
twice.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import DatabaseError

from byoc_vision.describe.space import Categorical, Continuous, Range
from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.tuning.folder import SearchFolder
from byoc_vision.tuning.locks import Lock, locked
from byoc_vision.tuning.request import Request

NAME = "byoc-vision"
RANDOM_TRIALS = 8  # before TPE has enough trials to learn from
TRIALS_BEFORE_PRUNING = 4
FIRST_EPOCH_JUDGED = 2  # the first epoch says too little
_WAIT_FOR_DATABASE = 60  # seconds

# User attributes of a study and of its trials.
IDENTITY = "identity"
REASON = "reason"  # why it failed
STATUS = "status"  # the job's exit status
AGAIN = "again"  # the number of the trial that it repeats, which was stopped together with the search
BEST_EPOCH = "best_epoch"
EPOCHS = "epochs"  # planned
SECONDS = "seconds"
OWN = "own"  # whether it has the recipe's own values

STATE_NAMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class RunningTrial:
    """A trial that runs: Optuna's trial, the hyperparameters of its job, and the lock that it holds."""

    trial: Trial
    hyperparameters: Mapping[str, str]
    lock: Lock

    @property
    def number(self) -> int:
        return self.trial.number


class Study:
    """The study in a search's folder; several processes may open it."""

    def __init__(self, folder: SearchFolder, request: Request, seed: int) -> None:
        """Open the study, or create it with the recipe's own values as its first trial.

        Raises InputError if it belongs to another search, DataError if the database is damaged.
        """
        self.folder, self.space, self._seed = folder, request.space, seed
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with locked(folder.study_lock), _readable(folder):
            self.optuna = optuna.create_study(
                storage=RDBStorage(
                    f"sqlite:///{folder.study}", engine_kwargs={"connect_args": {"timeout": _WAIT_FOR_DATABASE}}
                ),
                study_name=NAME,
                direction=request.space.objective.direction,
                pruner=MedianPruner(TRIALS_BEFORE_PRUNING, FIRST_EPOCH_JUDGED),
                load_if_exists=True,
            )
            known = self.optuna.user_attrs.get(IDENTITY)
            if known is None:
                self.optuna.set_user_attr(IDENTITY, request.identity)
                self.optuna.enqueue_trial(dict(request.own), user_attrs={OWN: True})
            elif different := [name for name, was in known.items() if was != request.identity[name]]:
                raise InputError(_other_search(folder, different, known, request.identity))

    @property
    def trials(self) -> list[FrozenTrial]:
        """Running and finished trials by number, without those that were stopped with the search and requeued."""
        found = self.optuna.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get(AGAIN) for trial in found}
        return [trial for trial in found if trial.state != TrialState.WAITING and trial.number not in repeated]

    @property
    def finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state in _FINISHED]

    @property
    def all_finished(self) -> list[FrozenTrial]:
        """Trials that no longer run, including those that were requeued."""
        return self.optuna.get_trials(deepcopy=False, states=_FINISHED)

    @property
    def best(self) -> FrozenTrial | None:
        """The complete trial with the best metric; the first of several."""
        complete = [trial for trial in self.finished if trial.state == TrialState.COMPLETE]
        sign = 1 if self.space.objective.direction == "minimize" else -1
        return min(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def next_trial(self, limit: int) -> RunningTrial | None:
        """Start the next trial; None if there are `limit` of them. Trials of processes that died are requeued."""
        with locked(self.folder.study_lock), _writable(self.folder):
            self._requeue_orphans()
            if len(self.trials) >= limit:
                return None
            self.optuna.sampler = _sampler(self._seed + len(self.optuna.get_trials(deepcopy=False)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                trial = self.optuna.ask({found.name: _distribution(found) for found in self.space.ranges})
            lock = Lock.when_free(self.folder.trial_lock(trial.number))
            return RunningTrial(trial, self.hyperparameters(trial.params), lock)

    def hyperparameters(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """A job's hyperparameters as SageMaker takes them: the fixed ones, and these."""
        return dict(self.space.fixed) | {name: to_string(value) for name, value in parameters.items()}

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Report an epoch's metric; returns whether the trial is worse than the median of the others so far."""
        with _writable(self.folder):
            trial.report(value, epoch)
            return bool(trial.should_prune())

    def note(self, trial: Trial, **attributes: Any) -> None:
        """Set attributes of a trial, before `end`."""
        with _writable(self.folder):
            for name, value in attributes.items():
                if value is not None:
                    trial.set_user_attr(name, value)

    def end(self, running: RunningTrial, state: TrialState, value: float | None = None) -> None:
        """Record the end of a trial. value: of a complete trial, a finite number."""
        assert value is None or math.isfinite(value)
        with _writable(self.folder):
            self.optuna.tell(running.trial, value, state)
        running.lock.release()

    def requeue(self, running: RunningTrial) -> None:
        """A trial was stopped together with the search: its values are tried when the search resumes."""
        with locked(self.folder.study_lock), _writable(self.folder):
            self._repeat(running.number)
        running.lock.release()

    def _requeue_orphans(self) -> None:
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if lock := Lock.if_free(self.folder.trial_lock(trial.number)):
                self._repeat(trial.number)
                lock.release()

    def _repeat(self, number: int) -> None:
        found = self.optuna.get_trials(deepcopy=False)
        if not any(trial.user_attrs.get(AGAIN) == number for trial in found):
            kept = {name: value for name, value in found[number].user_attrs.items() if name == OWN}
            self.optuna.enqueue_trial(found[number].params, user_attrs={AGAIN: number, **kept})
        self.optuna.tell(number, state=TrialState.FAIL)


def to_string(value: Any) -> str:
    """A value as in hyperparameters.json, with six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _distribution(found: Range) -> BaseDistribution:
    if isinstance(found, Categorical):
        return CategoricalDistribution(found.values)
    if isinstance(found, Continuous):
        return FloatDistribution(found.low, found.high, log=found.logarithmic)
    return IntDistribution(found.low, found.high, log=found.logarithmic)


def _sampler(seed: int) -> TPESampler:
    """Proposes parameters jointly, and away from those of running trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=True)


@contextmanager
def _readable(folder: SearchFolder) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, RuntimeError, optuna.exceptions.StorageInternalError) as error:
        raise DataError(
            f"{folder.study} cannot be read as a study ({_first_line(error)}); remove it, or name another --output"
        ) from error


@contextmanager
def _writable(folder: SearchFolder) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, optuna.exceptions.StorageInternalError) as error:
        raise ResourceError(
            f"{folder.study} cannot be written ({_first_line(error)}); free space on its disk and start again: "
            "finished trials are kept"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error.__cause__ or error).partition("\n")[0]


def _other_search(folder: SearchFolder, different: list[str], was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    texts = {
        "metric": f"the metric, {was['metric']} there and {now['metric']} here",
        "data": f"the data, {_counted(was['data'])} there and {_counted(now['data'])} here",
        "ranges": f"the ranges of {', '.join(_differing_keys(was['ranges'], now['ranges']))}",
        "other hyperparameters": "the recipe: "
        + ", ".join(_differing_keys(was["other hyperparameters"], now["other hyperparameters"])),
    }
    return (
        f"{folder.root} holds another search. It differs in {'; '.join(texts[name] for name in different)}. "
        "Name another folder with --output, or repeat the same request"
    )


def _differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _counted(data: Mapping[str, Any]) -> str:
    return " and ".join(f"{count} {split}" for split, count in data["pictures"].items()) + " images"
