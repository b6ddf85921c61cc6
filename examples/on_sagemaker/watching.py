"""Following jobs and endpoints until they are ready or end, and saying why they ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import boto3
from options import Options
from training_log import LiveTable, TrainingLog

PAUSE = 10.0  # seconds between two looks
_PASSING = frozenset({"Creating", "InProgress", "Pending", "Starting", "Stopping", "Updating"})
_ENDED = frozenset({"Failed", "Stopped", "OutOfService"})
_REMEDIES = {
    "MaxWaitTimeExceeded": "there was not a spot instance in time: --no-spot, another --training-instance, or a larger "
    "--longest-job",
    "Interrupted": "the spot instance was taken away: run it again, or use --no-spot",
}

Description = dict[str, Any]


def wait_for(
    what: str, describe: Callable[[], Description], key: str, look: Callable[[], None] | None = None
) -> Description:
    """The description of something once its status, which it has under `key`, is final; each change is printed.

    look: called at every look. Ends the process, with SageMaker's reason, if it failed or was stopped; a training
    job that was stopped because its time was over has left a model, and counts as done.
    """
    seen = None
    while True:
        description = describe()
        status = description[key]
        if look is not None and status not in _PASSING:  # what came before the end
            look()
        if (state := _state(description, status)) != seen:
            print(f"{what}: {state}", flush=True)
            seen = state
        if look is not None and status in _PASSING:
            look()
        if description.get("SecondaryStatus") == "MaxRuntimeExceeded":
            print(f"{what}: its time was over; its model is the best epoch's by then (--longest-job gives it more)")
            return description
        if status in _ENDED:
            raise SystemExit(f"{what} ended as {_reason(description, status)}")
        if status not in _PASSING:
            return description
        time.sleep(PAUSE)


def follow(session: boto3.Session, job: str, options: Options) -> Description:
    """The description of a training job once it has ended well; its epochs are shown as they come.

    The whole log is written to the output folder.
    """
    sagemaker, log = session.client("sagemaker"), TrainingLog(session, job)
    file = options.output / f"{job}.log"
    file.unlink(missing_ok=True)
    table = LiveTable(
        options.metrics,
        epochs=options.recipe.hyperparameters.epochs,
        first=[options.objective],
        file=file,
        every_line=options.every_line,
    )
    describe = lambda: sagemaker.describe_training_job(TrainingJobName=job)  # noqa: E731
    try:
        done = wait_for(job, describe, "TrainingJobStatus", lambda: table.add(log.new_lines()))
    except SystemExit:
        table.print_tail()
        raise
    finally:
        table.status("")
        print(f"log: {file}", flush=True)
    for metric in done.get("FinalMetricDataList", []):
        print(f"{metric['MetricName']} {metric['Value']:.4g}")
    if saved := _saved(done):
        print(f"spot instances saved {saved:.0%} of the time that is paid for")
    return done


def wait_for_transform(session: boto3.Session, job: str) -> Description:
    sagemaker = session.client("sagemaker")
    return wait_for(job, lambda: sagemaker.describe_transform_job(TransformJobName=job), "TransformJobStatus")


def _state(description: Description, status: str) -> str:
    """With SageMaker's second status, and what it says about it."""
    second = description.get("SecondaryStatus")
    transitions = description.get("SecondaryStatusTransitions") or [{}]
    message = transitions[-1].get("StatusMessage") if transitions[-1].get("Status") == second else None
    if status not in _PASSING or second in (None, status):
        return status
    return f"{status}, {second}" + (f": {message}" if message else "")


def _reason(description: Description, status: str) -> str:
    """With the SecondaryStatus, and the one before it: what the job was doing."""
    second, transitions = description.get("SecondaryStatus"), description.get("SecondaryStatusTransitions") or [{}]
    before = f", after {transitions[-2]['Status']}" if len(transitions) > 1 else ""
    named = f"{status} (SecondaryStatus {second}{before})" if second else status
    reason = description.get("FailureReason") or transitions[-1].get("StatusMessage") or "SageMaker gives no reason"
    remedy = _REMEDIES.get(str(second))
    return f"{named}: {reason}" + (f"\n{remedy}" if remedy else "")


def _saved(done: Description) -> float:
    """The share of the time on spot instances that costs nothing, as SageMaker reckons it."""
    trained, billed = done.get("TrainingTimeInSeconds", 0), done.get("BillableTimeInSeconds", 0)
    return 1 - billed / trained if done.get("EnableManagedSpotTraining") and trained else 0.0
