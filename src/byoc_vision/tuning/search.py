"""`byoc-vision tune`: trials until there are enough of them, and what they came to."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from byoc_vision import hyperparameters as hp
from byoc_vision.errors import DataError, InputError, ResourceError, UserError
from byoc_vision.report import formatting
from byoc_vision.report.record import Record, read_record
from byoc_vision.tuning import devices, results
from byoc_vision.tuning.folder import SearchFolder
from byoc_vision.tuning.log_parser import read_epoch
from byoc_vision.tuning.request import Request, read_request
from byoc_vision.tuning.stopping import Stop
from byoc_vision.tuning.study import BEST_EPOCH, EPOCHS, REASON, SECONDS, STATUS, Handed, Study, spelt
from byoc_vision.tuning.trial_job import TrialJob

logger = logging.getLogger(__name__)

EQUAL_FAILURES = 3  # at the start, after which the rest would fail likewise
FINISHED = ("finished", "stopped_early", "stopped_by_rule")  # of a job whose model counts


@dataclass(frozen=True)
class Plan:
    """How much to try. processes: beside each other; None: one a GPU. minutes: after which no trial begins."""

    trials: int
    processes: int | None = None
    minutes: float | None = None
    seed: int = 0


def tune(
    recipe: str, data: Path, output: Path, plan: Plan, metric: str | None = None, keep: Collection[str] = ()
) -> int:
    """Search from a recipe until the folder `output` holds as many trials as planned; the process's exit status.

    Started again it goes on; started twice at once both share the trials. Raises UserError where nothing can be
    searched, or the first trials fail for one reason.
    """
    if plan.trials < 1:
        raise InputError(f"trials={plan.trials}: at least one is needed")
    request = read_request(recipe, data, metric, keep)
    folder = SearchFolder(output.absolute())
    folder.prepare()
    return Search(folder, request, Study(folder, request, plan.seed), plan).run()


class Search:
    """The trials that this process runs, as many at a time as it may."""

    def __init__(self, folder: SearchFolder, request: Request, study: Study, plan: Plan) -> None:
        self.folder, self.request, self.study, self.plan = folder, request, study, plan
        self.stop = Stop()
        self._gpus = devices.gpus(os.environ)
        self._processes = plan.processes or max(1, len(self._gpus))
        self._deadline = time.monotonic() + 60 * plan.minutes if plan.minutes else math.inf
        self._writing = threading.Lock()

    def run(self) -> int:
        """Run trials until there are enough. What is done is kept, however it ends."""
        logger.info(self._described())
        with ExitStack() as stack:
            stack.enter_context(self.stop.listening())
            bar = stack.enter_context(
                tqdm(total=self.plan.trials, initial=len(self.study.over), desc="trials", unit="", disable=None)
            )
            if not bar.disable:
                stack.enter_context(logging_redirect_tqdm())
            pool = stack.enter_context(ThreadPoolExecutor(self._processes))
            workers = [pool.submit(self._work, turn, bar) for turn in range(self._processes)]
            for worker in workers:
                worker.result()
        self._tell(final=self.stop.signal is None)
        return self._verdict()

    def _work(self, turn: int, bar: tqdm) -> None:
        """Trials one after the other. What goes wrong ends the other threads' work too."""
        try:
            while not self.stop.signal and not self.stop.enough and time.monotonic() < self._deadline:
                handed = self.study.hand_out(self.plan.trials)
                if handed is None:
                    return
                self._run_trial(handed, turn)
                self._tell()
                bar.n = len(self.study.over)
                bar.set_postfix_str(self._best_so_far())
        except BaseException:
            self.stop.enough = True
            raise

    def _run_trial(self, handed: Handed, turn: int) -> None:
        job = TrialJob(self.folder.trial(handed.number))
        job.prepare(handed.hyperparameters, self.request.channels)
        epochs, started = hp.parse(handed.hyperparameters).epochs, time.monotonic()
        with self.stop.telling(job), devices.one_gpu(self._gpus, turn, self.folder.locks) as gpu:
            environment = {**devices.threads(os.environ, self._processes), **gpu}
            pruned = self._follow(job, handed, environment, epochs)
            status = job.wait()
        seconds = round(time.monotonic() - started, 1)
        if self.stop.signal and not pruned:
            self.study.queue_again(handed)
            job.tidy()
            logger.info("trial %d: interrupted; its values are tried when the search goes on", handed.number)
            return
        self.study.note(handed.trial, **{SECONDS: seconds, EPOCHS: epochs})
        if pruned:
            self.study.end(handed, TrialState.PRUNED)
        else:
            self._judge(job, handed, status)
        with self._writing:
            results.keep_best(self.folder, self.study)
        self._log(handed.number)

    def _follow(self, job: TrialJob, handed: Handed, environment: Mapping[str, str], epochs: int) -> bool:
        """Tell the study what each epoch comes to; whether the job was stopped as hopeless."""
        pruned, metric = False, self.study.space.objective.metric
        for line in job.lines(environment):
            epoch = read_epoch(line)
            if epoch is None or metric not in epoch.figures or pruned or self.stop.signal:
                continue
            hopeless = self.study.is_hopeless(handed.trial, epoch.epoch, epoch.figures[metric])
            if hopeless and epoch.epoch < epochs:
                pruned = True
                job.stop()
        return pruned

    def _judge(self, job: TrialJob, handed: Handed, status: int) -> None:
        """Tell the study what a job that has ended came to."""
        record = _record_of(job) if status == 0 else None
        value = record.validation.get(self.study.space.objective.metric.removeprefix("validation:")) if record else None
        if record and record.state in FINISHED and value is not None and math.isfinite(value):
            self.study.note(handed.trial, **{BEST_EPOCH: record.best_epoch})
            self.study.end(handed, TrialState.COMPLETE, value)
            return
        reason = job.why_it_failed(status) if status else _why_no_figure(record)
        self.study.note(handed.trial, **{REASON: reason, STATUS: status})
        self.study.end(handed, TrialState.FAIL)
        if _is_same_fault(self.study.over):
            self.stop.enough = True

    def _tell(self, final: bool = False) -> None:
        """Write what is known by now. final: the search is over, and the best model gets what trials do without."""
        with self._writing:
            if final:
                results.complete_best(self.folder, self.study, self.request)
            results.write(self.folder, self.study, self.request)

    def _log(self, number: int) -> None:
        trial = next(trial for trial in self.study.over if trial.number == number)
        varied = ", ".join(f"{name}={spelt(value)}" for name, value in trial.params.items())
        logger.info("trial %d: %s (%s); %s", number, self._outcome(trial), varied, self._best_so_far())

    def _outcome(self, trial: FrozenTrial) -> str:
        took, metric = formatting.duration(trial.user_attrs[SECONDS]), self.study.space.objective.metric
        if trial.state == TrialState.COMPLETE:
            return f"{metric}={trial.value:.4f} in {took}"
        if trial.state == TrialState.PRUNED:
            return f"pruned after epoch {trial.last_step} at {metric}={trial.value:.4f}, in {took}"
        return f"failed: {trial.user_attrs[REASON]}"

    def _best_so_far(self) -> str:
        best = self.study.best
        return f"best {best.value:.4f} (trial {best.number})" if best else "no trial is complete yet"

    def _described(self) -> str:
        space, done = self.study.space, len(self.study.over)
        wanted = "lowest" if space.objective.direction == "minimize" else "highest"
        where = f"GPUs {', '.join(self._gpus)}" if self._gpus else "the CPU"
        going_on = f", {done} of which are done" if done else ""
        return (
            f"Searching {', '.join(found.name for found in space.ranges)} for the {wanted} {space.objective.metric}: "
            f"{self.plan.trials} trials{going_on}, {self._processes} at a time, on {where}. Results: {self.folder.root}"
        )

    def _verdict(self) -> int:
        """The exit status. Raises the error that the first trials, or all of them, ended with."""
        best, failed = self.study.best, [trial for trial in self.study.over if trial.state == TrialState.FAIL]
        if self.stop.signal:
            logger.info("Stopped; the same command goes on. %s", self._best_so_far())
            return self.stop.exit_code
        if best is None and failed:
            if error := _failure(failed[-1], len(failed)):
                raise error
            logger.error("None of %d trials came to a model. %s", len(failed), failed[-1].user_attrs[REASON])
            return 1
        if best is not None:
            logger.info("The best: trial %d, %s=%.4f", best.number, self.study.space.objective.metric, best.value)
            logger.info(
                "Its model is %s, its hyperparameters are %s", self.folder.model, self.folder.best_hyperparameters
            )
        logger.info("How the search went is in %s", self.folder.page)
        return 0


def _record_of(job: TrialJob) -> Record | None:
    try:
        return read_record(job.paths.output_data)
    except DataError as error:
        logger.warning("%s", error)
        return None


def _why_no_figure(record: Record | None) -> str:
    if record is not None and record.state == "interrupted":
        return "The job was stopped by somebody else"
    return "The job ended without a figure to judge it by"


def _is_same_fault(over: list[FrozenTrial]) -> bool:
    """Whether all trials failed, the first ones for one reason. Where memory did not suffice, others may do."""
    if len(over) < EQUAL_FAILURES or any(trial.state != TrialState.FAIL for trial in over):
        return False
    last = over[-EQUAL_FAILURES:]
    return len({trial.user_attrs[REASON] for trial in last}) == 1 and last[-1].user_attrs[STATUS] in (1, 2, 3)


def _failure(last: FrozenTrial, failed: int) -> UserError | None:
    """What the last of the failed trials ended with; None where that is a bug of ours."""
    reason, status = str(last.user_attrs[REASON]), last.user_attrs[STATUS]
    kinds: dict[int, type[UserError]] = {2: InputError, 3: DataError, 4: ResourceError}
    kind = ResourceError if status < 0 else kinds.get(status)
    if kind is None:
        return None
    reason = reason.removeprefix(f"{kind.category}: ")
    return kind(f"none of {failed} trials came to a model; the last one ended with: {reason}")
