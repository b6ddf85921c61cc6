"""`byoc-vision tune`: runs trials until the budget is spent, and reports the best."""

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
from tqdm.contrib.logging import logging_redirect_tqdm

from byoc_vision import hyperparameters as hp
from byoc_vision.describe.metrics import read_epoch
from byoc_vision.errors import DataError, InputError, ResourceError, UserError
from byoc_vision.progress import Progress
from byoc_vision.report import formatting
from byoc_vision.report.record import Record, read_record
from byoc_vision.system.machine import gpu_names
from byoc_vision.tuning import devices, results
from byoc_vision.tuning.folder import SearchFolder
from byoc_vision.tuning.request import Request, read_request
from byoc_vision.tuning.stopping import Stop
from byoc_vision.tuning.study import BEST_EPOCH, EPOCHS, REASON, SECONDS, STATUS, RunningTrial, Study, to_string
from byoc_vision.tuning.trial_job import TrialJob

logger = logging.getLogger(__name__)

EQUAL_FAILURES = 3  # at the start; then the rest would fail for the same reason
FINISHED = ("finished", "stopped_early", "stopped_by_rule")  # of a job whose model counts


@dataclass(frozen=True)
class SearchBudget:
    """How much to try. processes: trials in parallel; None: one for each GPU. minutes: after them no trial starts."""

    trials: int
    processes: int | None = None
    minutes: float | None = None
    seed: int = 0


def tune(
    recipe: str, data: Path, output: Path, budget: SearchBudget, metric: str | None = None, keep: Collection[str] = ()
) -> int:
    """Search from a recipe until the folder `output` holds as many trials as planned; returns the exit status.

    Started again it resumes; two that run at once share the trials. Raises UserError if nothing can be searched, or
    the first trials fail for the same reason.
    """
    if budget.trials < 1:
        raise InputError(f"trials={budget.trials} must be 1 or more")
    request = read_request(recipe, data, metric, keep)
    folder = SearchFolder(output.absolute())
    folder.prepare()
    return Search(folder, request, Study(folder, request, budget.seed), budget).run()


class Search:
    """The trials that this process runs, in parallel threads."""

    def __init__(self, folder: SearchFolder, request: Request, study: Study, budget: SearchBudget) -> None:
        self.folder, self.request, self.study, self.budget = folder, request, study, budget
        self.stop = Stop()
        self._gpus = gpu_names(os.environ)
        self._processes = budget.processes or max(1, len(self._gpus))
        self._deadline = time.monotonic() + 60 * budget.minutes if budget.minutes else math.inf
        self._writing = threading.Lock()

    def run(self) -> int:
        """Run trials until the budget is spent; returns the exit status. Finished trials are always kept."""
        logger.info(self._description())
        with ExitStack() as stack:
            stack.enter_context(self.stop.listening())
            done = len(self.study.finished)
            progress = stack.enter_context(Progress("tuning", self.budget.trials, unit="trials", initial=done))
            if progress.draws_bar:
                stack.enter_context(logging_redirect_tqdm())
            pool = stack.enter_context(ThreadPoolExecutor(self._processes))
            workers = [pool.submit(self._work, turn, progress) for turn in range(self._processes)]
            for worker in workers:
                worker.result()
        self._write(final=self.stop.signal is None)
        return self._verdict()

    def _work(self, turn: int, progress: Progress) -> None:
        """Run trials one after another. An error also ends the other threads."""
        try:
            while not self.stop.signal and not self.stop.no_more_trials and time.monotonic() < self._deadline:
                running = self.study.next_trial(self.budget.trials)
                if running is None:
                    return
                self._run_trial(running, turn, progress)
                self._write()
                progress.update(len(self.study.finished) - progress.done, note=self._note())
        except BaseException:
            self.stop.no_more_trials = True
            raise

    def _run_trial(self, running: RunningTrial, turn: int, progress: Progress) -> None:
        job = TrialJob(self.folder.trial(running.number))
        job.prepare(running.hyperparameters, self.request.channels)
        asked, started = hp.parse(running.hyperparameters), time.monotonic()
        epochs = 0 if asked.steps or asked.budget else asked.epochs  # not known before the job has its data
        with self.stop.forwarding_to(job), devices.one_gpu(self._gpus, turn, self.folder.locks) as gpu:
            environment = {**devices.threads(os.environ, self._processes), **gpu}
            pruned = self._follow(job, running, environment, epochs, progress)
            status = job.wait()
        seconds = round(time.monotonic() - started, 1)
        if self.stop.signal and not pruned:
            self.study.requeue(running)
            job.tidy()
            logger.info("trial %d: interrupted; its values are tried when the search resumes", running.number)
            return
        self.study.note(running.trial, **{SECONDS: seconds}, **({EPOCHS: epochs} if epochs else {}))
        if pruned:
            self.study.end(running, TrialState.PRUNED)
        else:
            self._judge(job, running, status)
        with self._writing:
            results.keep_best(self.folder, self.study)
        self._log(running.number)

    def _follow(
        self, job: TrialJob, running: RunningTrial, environment: Mapping[str, str], epochs: int, progress: Progress
    ) -> bool:
        """Report each epoch to the study; returns whether the job was pruned."""
        pruned, metric = False, self.study.space.objective.metric
        for line in job.lines(environment):
            progress.say_if_due()
            found = read_epoch(line, metric)
            if found is None or pruned or self.stop.signal:
                continue
            epoch, value = found
            if self.study.should_prune(running.trial, epoch, value) and (epoch < epochs or not epochs):
                pruned = True
                job.stop()
        return pruned

    def _judge(self, job: TrialJob, running: RunningTrial, status: int) -> None:
        """Record the result of a job that has ended."""
        record = _record_of(job) if status == 0 else None
        value = record.validation.get(self.study.space.objective.metric.removeprefix("validation:")) if record else None
        if record and record.state in FINISHED and value is not None and math.isfinite(value):
            self.study.note(running.trial, **{BEST_EPOCH: record.best_epoch})
            self.study.end(running, TrialState.COMPLETE, value)
            return
        reason = job.why_it_failed(status) if status else _why_no_metric(record)
        self.study.note(running.trial, **{REASON: reason, STATUS: status})
        self.study.end(running, TrialState.FAIL)
        if _fail_alike(self.study.finished):
            self.stop.no_more_trials = True

    def _write(self, final: bool = False) -> None:
        """Write the results so far. final: the search is over; also complete the best model."""
        with self._writing:
            if final:
                results.complete_best(self.folder, self.study, self.request)
            results.write(self.folder, self.study, self.request)

    def _log(self, number: int) -> None:
        trial = next(trial for trial in self.study.finished if trial.number == number)
        varied = ", ".join(f"{name}={to_string(value)}" for name, value in trial.params.items())
        logger.info("trial %d: %s (%s); %s", number, self._outcome(trial), varied, self._best_so_far())

    def _outcome(self, trial: FrozenTrial) -> str:
        took, metric = formatting.duration(trial.user_attrs[SECONDS]), self.study.space.objective.metric
        if trial.state == TrialState.COMPLETE:
            return f"{metric}={trial.value:.4f} in {took}"
        if trial.state == TrialState.PRUNED:
            return f"pruned after epoch {trial.last_step} at {metric}={trial.value:.4f}, in {took}"
        return f"failed: {trial.user_attrs[REASON]}"

    def _note(self) -> str:
        best = self.study.best
        return f"best={best.value:.4f} best_trial={best.number}" if best else ""

    def _best_so_far(self) -> str:
        best = self.study.best
        return f"best {best.value:.4f} (trial {best.number})" if best else "no trial is complete yet"

    def _description(self) -> str:
        space, done = self.study.space, len(self.study.finished)
        wanted = "lowest" if space.objective.direction == "minimize" else "highest"
        where = f"GPUs {', '.join(self._gpus)}" if self._gpus else "the CPU"
        finished = f", {done} of them finished" if done else ""
        return (
            f"Searching {', '.join(found.name for found in space.ranges)} for the {wanted} {space.objective.metric}: "
            f"{self.budget.trials} trials{finished}, {self._processes} in parallel, on {where}. "
            f"Results: {self.folder.root}"
        )

    def _verdict(self) -> int:
        """The exit status. Raises the error of the first trials, or of all."""
        best, failed = self.study.best, [trial for trial in self.study.finished if trial.state == TrialState.FAIL]
        if self.stop.signal:
            logger.info("Stopped; the same command resumes the search. %s", self._best_so_far())
            return self.stop.exit_code
        if best is None and failed:
            if error := _failure(failed[-1], len(failed)):
                raise error
            logger.error("None of %d trials produced a model. %s", len(failed), failed[-1].user_attrs[REASON])
            return 1
        if best is not None:
            logger.info("Best trial: %d, %s=%.4f", best.number, self.study.space.objective.metric, best.value)
            logger.info("Its model: %s. Its hyperparameters: %s", self.folder.model, self.folder.best_hyperparameters)
        logger.info("Report of the search: %s", self.folder.page)
        return 0


def _record_of(job: TrialJob) -> Record | None:
    try:
        return read_record(job.paths.output_data)
    except DataError as error:
        logger.warning("%s", error)
        return None


def _why_no_metric(record: Record | None) -> str:
    if record is not None and record.state == "interrupted":
        return "The job was stopped from outside the search"
    return "The job ended without the metric"


def _fail_alike(over: list[FrozenTrial]) -> bool:
    """Whether all trials failed, the last ones for one reason. After a lack of memory, other values may succeed."""
    if len(over) < EQUAL_FAILURES or any(trial.state != TrialState.FAIL for trial in over):
        return False
    last = over[-EQUAL_FAILURES:]
    return len({trial.user_attrs[REASON] for trial in last}) == 1 and last[-1].user_attrs[STATUS] in (1, 2, 3)


def _failure(last: FrozenTrial, failed: int) -> UserError | None:
    """The error of the last failed trial; None for an internal error."""
    reason, status = str(last.user_attrs[REASON]), last.user_attrs[STATUS]
    kinds: dict[int, type[UserError]] = {2: InputError, 3: DataError, 4: ResourceError}
    kind = ResourceError if status < 0 else kinds.get(status)
    if kind is None:
        return None
    reason = reason.removeprefix(f"{kind.category}: ")
    return kind(f"none of {failed} trials produced a model; the last one ended with: {reason}")
