"""A training within a time: how many steps fit, measured before the first one and again on the way.

The schedule ends with the steps that fit: one that is cut off leaves a worse model than a shorter one that reaches its
end (Li et al., "Budgeted Training: Rethinking Deep Neural Network Training Under Resource Constraints", 2020). If steps
take more or less time than measured, the rest of the schedule is compressed or stretched to the steps that still fit.

The budget is the whole job's, from the start of its process to its end; a job that resumes brings the time of its
earlier starts up to their last checkpoint.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World, on_rank0
from byoc_vision.recipe.auto_recipe import Choice
from byoc_vision.report import formatting
from byoc_vision.report.record import BudgetPlan, BudgetRecord
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.budget_plan import EXPORT_SECONDS, MARGIN, Ending, Speed, models_after_a_pass, steps_that_fit
from byoc_vision.training.callbacks.run_report import add_to_record

MOST_EPOCHS = 300  # more passes over the same images are a waste of the time
LOOK_SHARE = 0.02  # of the budget, between two looks at the clock
LEAST_CHANGE = 0.03  # of the steps that are left, if there is time for fewer
LEAST_GAIN = 0.1  # of them, if there is time for more
LEAST_CHANGE_OF_ALL = 0.01  # of all steps
MEASURING_SHARE = 0.02  # of the budget, after which few steps are enough

logger = logging.getLogger(__name__)


def fitting_budget(
    hyperparameters: Hyperparameters,
    seconds: float,
    given: frozenset[str],
    length: Length,
    ending: Ending,
    world: World,
    clock: Callable[[], float],
    checkpoint: Mapping[str, Any] | None,
    measure: Callable[[float], Speed],
    *,
    floor_images: float = 0.0,
) -> Budget:
    """A job's budget, with `length` as long as it allows. Call it in all processes.

    Args:
        seconds: of the whole job.
        given: the hyperparameters that the user chose; `epochs` and `steps` are the most that is trained.
        checkpoint: that the job is going to continue; its measurements are taken.
        measure: takes about so many seconds.
        floor_images: that a linear probe passes before the first step, per validation image.

    Raises:
        InputError: not even one pass over the images fits.
    """
    most = length.steps if given & {"epochs", "steps"} else MOST_EPOCHS * length.steps_per_epoch
    saved = checkpoint.get("budget") if checkpoint else None
    models = models_after_a_pass(hyperparameters)
    if saved:
        speed = Speed(*saved["speed"])
    else:
        measured = measure(MEASURING_SHARE * seconds)
        speed = Speed(measured.step, measured.evaluation * models)
    budget = Budget(hyperparameters.budget or "", seconds, length, ending, most, speed, world, clock)
    budget.warmup = checkpoint["hyperparameters"]["warmup_epochs"] if saved and checkpoint else None
    if checkpoint is None:
        floor = floor_images * speed.evaluation / models
        budget.pending = on_rank0(world, lambda: floor)
        budget.check()
    length.steps = budget.fit()
    length.planned = checkpoint["length"]["planned"] if saved and checkpoint else length.steps
    return budget


@dataclass
class Budget:
    """A job's time, and what fits into it. Every process has one; the main process looks at the clock.

    text: as the job gives it. seconds: of the whole job. length: of the training, which this changes. most: steps.
    clock: seconds since this start of the job. spent: of its earlier starts. speed: as measured. pending: seconds that
    the first step waits for. warmup: of an earlier start, in epochs. slowness: what the export took, as a multiple
    of what it takes on an idle machine.
    trained, ended: when the training and the job ended, in seconds of the job; None before.
    """

    text: str
    seconds: float
    length: Length
    ending: Ending
    most: int
    speed: Speed
    world: World = field(default_factory=World)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    spent: float = 0.0
    pending: float = 0.0
    warmup: float | None = None
    slowness: float = 1.0
    planned: BudgetPlan | None = None
    changes: int = 0
    trained: float | None = None
    ended: float | None = None
    _last: float = 0.0  # the end of the last step, by the clock
    _looked: tuple[int, float] = (0, 0.0)  # at which step, and when
    _next: int = 0  # the step of the next look

    def check(self) -> None:
        """Call it before a training that does not resume.

        Raises InputError if not even one pass over the images fits.
        """
        steps = min(self.length.steps_per_epoch, self.most)
        end = self.ending.reserve(self.speed, 0)
        begin = self.elapsed + self.pending
        needed = (begin + steps * self.speed.step + self.speed.evaluation + end) / (1 - MARGIN)
        if on_rank0(self.world, lambda: needed <= self.seconds):
            return
        raise InputError(
            f"budget={self.text} is too short for one pass over the training images, which takes "
            f"{formatting.duration(needed)} in all: {formatting.duration(begin)} until the first step, "
            f"{steps} steps of {formatting.duration(self.speed.step)}, an evaluation of "
            f"{formatting.duration(self.speed.evaluation)}, and {formatting.duration(end)} for the model's export and "
            f"its evaluations. Set budget={_rounded_up(1.5 * needed)} or more; fewer or smaller images take less"
        )

    @property
    def elapsed(self) -> float:
        """Seconds of the job so far."""
        return self.spent + self.clock()

    @property
    def left(self) -> float:
        return self.seconds - self.elapsed - self.pending

    def settings(
        self, hyperparameters: Hyperparameters, choices: Sequence[Choice], given: frozenset[str]
    ) -> tuple[Hyperparameters, tuple[Choice, ...]]:
        """The hyperparameters with what the budget chooses, and all choices with their reasons."""
        length, changed = self.length, {}
        reason = f"as many fit into budget={self.text}"
        if hyperparameters.steps:
            changed["steps"] = Choice("steps", length.steps, reason)
        elif "epochs" not in given or length.epochs < hyperparameters.epochs:
            changed["epochs"] = Choice("epochs", length.epochs, reason)
        tenth = round(length.steps / length.steps_per_epoch / 10, 3)
        warmup = tenth if self.warmup is None else self.warmup
        if "warmup_epochs" not in given and hyperparameters.warmup_epochs > warmup:
            changed["warmup_epochs"] = Choice("warmup_epochs", warmup, f"a tenth of what fits into budget={self.text}")
        update = {name: choice.value for name, choice in changed.items()}
        kept = [choice for choice in choices if choice.name not in changed]
        return hyperparameters.model_copy(update=update), (*kept, *changed.values())

    def fit(self, epoch: int = 1, into: int = 0) -> int:
        """The steps in all, if the job has made `into` of pass `epoch` and goes on now; the same in all processes."""
        left = self.left - self.ending.reserve(self.speed, self.seconds)
        steps = steps_that_fit(left, self.speed, self.length, epoch, into)
        made = self.length.made(epoch, into)
        return on_rank0(self.world, lambda: max(made, min(steps, self.most)))

    def begin(self, epoch: int, into: int) -> None:
        """The next step is the first one of this start of the job. Logs the plan."""
        made, self.pending = self.length.made(epoch, into), 0.0
        self._plan(made, self.fit(epoch, into))
        self._look_next(made)
        plan = self._state(epoch, into)
        self.planned = self.planned or plan
        end = self.now() + timedelta(seconds=(plan.job_ends or 0.0) - self.elapsed)
        logger.info(
            "budget: %s; a step takes %s, an evaluation %s: %d epochs, %s steps, ends about %s UTC",
            formatting.duration(self.seconds),
            formatting.duration(self.speed.step),
            formatting.duration(self.speed.evaluation),
            plan.epochs,
            formatting.count(plan.steps),
            f"{end:%H:%M:%S}",
        )

    def begin_epoch(self) -> None:
        """What follows an evaluation, such as a checkpoint, is done: it takes its time after each pass."""
        now = self.clock()
        if self._last:
            self._measured(evaluation=now - self._last)
        self._looked = (self._looked[0], now)

    def after_step(self, epoch: int, into: int) -> None:
        """Look at the clock if it is time: the steps that are left may be more or fewer than planned."""
        self._last = self.clock()
        made = self.length.made(epoch, into)
        if made < self._next or made >= self.length.steps:
            return
        steps, seconds = made - self._looked[0], self._last - self._looked[1]
        if steps > 0:
            self._measured(step=seconds / steps)
        self._plan(made, self.fit(epoch, into), epoch)
        self._look_next(made)

    def after_evaluation(self, epoch: int, into: int) -> None:
        """A pass is evaluated. It was the last one if there is not enough time for another."""
        made, seconds = self.length.made(epoch, into), self.clock() - self._last
        self._measured(evaluation=max(seconds, self.speed.evaluation))
        if made < self.length.steps:
            self._plan(made, self.fit(epoch + 1), epoch)
        self._look_next(made)
        if made >= self.length.steps:
            self.trained = self.elapsed

    def _measured(self, step: float | None = None, evaluation: float | None = None) -> None:
        """The mean of what was known and what is measured; the same in all processes."""
        old = self.speed
        new = Speed(old.step if step is None else step, old.evaluation if evaluation is None else evaluation)
        self.speed = on_rank0(
            self.world, lambda: Speed(*((one + other) / 2 for one, other in zip(old, new, strict=True)))
        )

    def _plan(self, made: int, steps: int, epoch: int | None = None) -> None:
        """Change the length of the training, unless it would be almost the same. epoch: to be logged."""
        before = self.length.steps
        least = LEAST_CHANGE if steps < before else LEAST_GAIN
        if epoch is not None and abs(steps - before) <= max(least * (before - made), LEAST_CHANGE_OF_ALL * before):
            return
        self.length.change(made, steps)
        if epoch is None:
            return
        self.changes += 1
        if self.world.is_main:
            logger.info(
                "budget: a step takes %s, an evaluation %s in epoch %d: the training ends after %s steps instead of %s",
                formatting.duration(self.speed.step),
                formatting.duration(self.speed.evaluation),
                epoch,
                formatting.count(steps),
                formatting.count(before),
            )

    def _look_next(self, made: int) -> None:
        """More often near the end."""
        steps = min(LOOK_SHARE * self.seconds / max(self.speed.step, 1e-6), (self.length.steps - made) / 2)
        self._looked, self._next = (made, self.clock()), made + max(1, int(steps))

    def _state(self, epoch: int, into: int) -> BudgetPlan:
        """As it is expected after `into` steps of pass `epoch`."""
        steps = self.length.steps - self.length.made(epoch, into)
        evaluations = self.length.epochs - epoch + 1
        training = self.elapsed + steps * self.speed.step + evaluations * self.speed.evaluation
        return self._plan_that_ends(training, training + self.ending.reserve(self.speed, 0))

    def _plan_that_ends(self, training: float | None, job: float | None) -> BudgetPlan:
        """The present plan. training, job: when they end, in seconds of the job."""
        return BudgetPlan(
            epochs=self.length.epochs,
            steps=self.length.steps,
            step_seconds=self.speed.step,
            evaluation_seconds=self.speed.evaluation,
            training_ends=None if training is None else round(training, 1),
            job_ends=None if job is None else round(job, 1),
        )

    # What is left of it

    def record(self) -> BudgetRecord | None:
        """None before the training begins."""
        if self.planned is None:
            return None
        schedule = self.length.place_of(self.length.steps) / self.length.planned
        return BudgetRecord(
            budget=self.text,
            seconds=self.seconds,
            planned=self.planned,
            actual=self._plan_that_ends(self.trained, self.ended),
            changes=self.changes,
            schedule=round(schedule, 4),
        )

    def known(self) -> dict[str, Any]:
        """Of the job's record: the epochs may become more or fewer than were planned."""
        return {"budget": self.record(), "planned_epochs": self.length.epochs}

    def exported(self, seconds: float) -> None:
        """The OpenVINO form took so long: what follows it may take as many times its usual time."""
        self.slowness = seconds / EXPORT_SECONDS

    def end(self, output: Path, *, page: bool) -> None:
        """The job has done all that it does; call it in the main process. output: the folder of its record."""
        self.ended = self.elapsed
        logger.info("budget: the job took %s of %s", formatting.duration(self.ended), formatting.duration(self.seconds))
        add_to_record(output, page=page, budget=self.record())

    def state_dict(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "spent": self.elapsed,
            "speed": tuple(self.speed),
            "planned": self.planned.model_dump(mode="json") if self.planned else None,
            "changes": self.changes,
        }

    def load_state_dict(self, content: Mapping[str, Any], epoch: int) -> None:
        """Go on from a checkpoint, with pass `epoch`. It may be of a job without a budget, or with another one."""
        saved = content.get("budget")
        self.spent = saved["spent"] if saved else sum(record["seconds"] for record in content["records"])
        if saved:
            self.changes, planned = saved["changes"], saved["planned"]
            self.planned = BudgetPlan.model_validate(planned) if planned else None
        if saved is None or content["complete"]:  # it goes on if a larger budget or more epochs leave steps to make
            # If the best model stays that of an earlier start, its predictions are made again at the end.
            self.ending = replace(self.ending, evaluations=self.ending.evaluations + 1)
            self.length.change(0, self.fit(epoch))
            return
        self.length.load_state_dict(content["length"])


def _rounded_up(seconds: float) -> str:
    """`90s`, or whole minutes."""
    return f"{10 * math.ceil(seconds / 10)}s" if seconds < 120 else f"{math.ceil(seconds / 60)}m"
