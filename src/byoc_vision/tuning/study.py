"""The trials of a search: handed out one by one, and what became of each, in a database that processes share.

Optuna proposes (TPE, Bergstra et al., 2011) and prunes (the median rule of Golovin et al., 2017). All that decides is
in the database: each proposal is seeded by how many trials there are, so a search that goes on, or has several
processes, proposes nothing twice.
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

from byoc_vision.describe.space import Categorical, Continuous, Range, SearchSpace
from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.tuning.folder import SearchFolder
from byoc_vision.tuning.locks import Lock, locked
from byoc_vision.tuning.request import Request

NAME = "byoc-vision"
RANDOM_TRIALS = 8  # at random, before there is enough to learn from
TRIALS_BEFORE_PRUNING = 4
FIRST_EPOCH_JUDGED = 2  # the one before tells too little
_WAIT_FOR_DATABASE = 60  # seconds

# User attributes of a study and of its trials.
IDENTITY = "identity"
REASON = "reason"  # why it failed
STATUS = "status"  # the job's exit status
AGAIN = "again"  # the number of a trial that was stopped together with the search, and of which it is a repetition
BEST_EPOCH = "best_epoch"
EPOCHS = "epochs"  # that were planned
SECONDS = "seconds"
OWN = "own"  # it has the recipe's own values

_OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Handed:
    """A trial to run: Optuna's, the hyperparameters of its job, and the lock that says that it is being run."""

    trial: Trial
    hyperparameters: Mapping[str, str]
    lock: Lock

    @property
    def number(self) -> int:
        return self.trial.number


class Study:
    """The study in a search's folder; several processes may have it open."""

    def __init__(self, folder: SearchFolder, request: Request, seed: int) -> None:
        """Open it, or begin it with the recipe's own values as its first trial.

        Raises InputError where it is of another search, DataError where the database is damaged.
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
        """All that ran or run, by number, without those that were stopped with the search and queued again."""
        found = self.optuna.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get(AGAIN) for trial in found}
        return [trial for trial in found if trial.state != TrialState.WAITING and trial.number not in repeated]

    @property
    def over(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state in _OVER]

    @property
    def ended(self) -> list[FrozenTrial]:
        """All that no longer run, also those that were queued again."""
        return self.optuna.get_trials(deepcopy=False, states=_OVER)

    @property
    def best(self) -> FrozenTrial | None:
        """The complete trial with the best figure; the first of several."""
        complete = [trial for trial in self.over if trial.state == TrialState.COMPLETE]
        sign = 1 if self.space.objective.direction == "minimize" else -1
        return min(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def hand_out(self, limit: int) -> Handed | None:
        """The next trial; None where there are `limit` of them. Trials of processes that are gone are queued again."""
        with locked(self.folder.study_lock), _writable(self.folder):
            self._queue_orphans()
            if len(self.trials) >= limit:
                return None
            self.optuna.sampler = _sampler(self._seed + len(self.optuna.get_trials(deepcopy=False)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                trial = self.optuna.ask(_distributions(self.space))
            lock = Lock.when_free(self.folder.trial_lock(trial.number))
            return Handed(trial, self.hyperparameters(trial.params), lock)

    def hyperparameters(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """A job's, as SageMaker takes them: those that stay as they are, and these."""
        return dict(self.space.fixed) | {name: spelt(value) for name, value in parameters.items()}

    def is_hopeless(self, trial: Trial, epoch: int, value: float) -> bool:
        """Tell what an epoch came to; whether the trial is worse than the median of the others so far."""
        with _writable(self.folder):
            trial.report(value, epoch)
            return bool(trial.should_prune())

    def note(self, trial: Trial, **attributes: Any) -> None:
        """Attributes of a trial, before `end`."""
        with _writable(self.folder):
            for name, value in attributes.items():
                if value is not None:
                    trial.set_user_attr(name, value)

    def end(self, handed: Handed, state: TrialState, value: float | None = None) -> None:
        """A trial is over. value: of one that is complete, a number."""
        assert value is None or math.isfinite(value)
        with _writable(self.folder):
            self.optuna.tell(handed.trial, value, state)
        handed.lock.release()

    def queue_again(self, handed: Handed) -> None:
        """A trial was stopped together with the search: its values are tried when the search goes on."""
        with locked(self.folder.study_lock), _writable(self.folder):
            self._repeat(handed.number)
        handed.lock.release()

    def _queue_orphans(self) -> None:
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


def spelt(value: Any) -> str:
    """A value as hyperparameters.json has it. Six digits say all that matters."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    return {found.name: _distribution(found) for found in space.ranges}


def _distribution(found: Range) -> BaseDistribution:
    if isinstance(found, Categorical):
        return CategoricalDistribution(found.values)
    if isinstance(found, Continuous):
        return FloatDistribution(found.low, found.high, log=found.logarithmic)
    return IntDistribution(found.low, found.high, log=found.logarithmic)


def _sampler(seed: int) -> TPESampler:
    """Parameters are proposed together, and away from those of trials that still run."""
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
            f"{folder.study} cannot be written ({_first_line(error)}); see to space on its disk and start again: "
            "what is done is kept"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error.__cause__ or error).partition("\n")[0]


def _other_search(folder: SearchFolder, different: list[str], was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    told = {
        "metric": f"the metric, {was['metric']} there and {now['metric']} here",
        "data": f"the data, {_counted(was['data'])} there and {_counted(now['data'])} here",
        "ranges": f"the ranges of {', '.join(_keys_that_differ(was['ranges'], now['ranges']))}",
        "other hyperparameters": "the recipe: "
        + ", ".join(_keys_that_differ(was["other hyperparameters"], now["other hyperparameters"])),
    }
    return (
        f"{folder.root} holds another search. It differs in {'; '.join(told[name] for name in different)}. "
        "Name another folder with --output, or ask for the same again"
    )


def _keys_that_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _counted(data: Mapping[str, Any]) -> str:
    return " and ".join(f"{count} {split}" for split, count in data["pictures"].items()) + " images"
