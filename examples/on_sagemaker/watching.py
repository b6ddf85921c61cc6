"""Waiting for what SageMaker does, and telling what it says meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3

PAUSE = 10.0  # seconds between two looks
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_PASSING = frozenset({"Creating", "InProgress", "Pending", "Starting", "Stopping", "Updating"})

Description = dict[str, Any]


def wait_for(
    what: str, describe: Callable[[], Description], key: str, look: Callable[[], None] | None = None
) -> Description:
    """The description of something once its status, which it has under `key`, is final; each change is told.

    look: called at every look. Ends the process, with SageMaker's reason, where it failed or was stopped; a training
    job that was stopped because its time was over has left a model, and counts as done.
    """
    told = None
    while True:
        description = describe()
        status = description[key]
        if look is not None:
            look()
        if status != told:
            print(f"{what}: {status}", flush=True)
            told = status
        if description.get("SecondaryStatus") == "MaxRuntimeExceeded":
            print(f"{what}: its time was over; its model is the best epoch's by then (--longest-job gives it more)")
            return description
        if status in ("Failed", "Stopped", "OutOfService"):
            raise SystemExit(f"{what} ended as {status}: {description.get('FailureReason', 'no reason was given')}")
        if status not in _PASSING:
            return description
        time.sleep(PAUSE)


def follow(session: boto3.Session, job: str) -> Description:
    """The description of a training job once it has ended well; its log is shown as it comes, then its last figures."""
    sagemaker, log = session.client("sagemaker"), TrainingLog(session, job)
    done = wait_for(job, lambda: sagemaker.describe_training_job(TrainingJobName=job), "TrainingJobStatus", log.show)
    for figure in done.get("FinalMetricDataList", []):
        print(f"{figure['MetricName']} {figure['Value']:.4g}")
    if saved := _saved(done):
        print(f"spot instances saved {saved:.0%} of the time that is paid for")
    return done


class TrainingLog:
    """The lines of a training job's log, of every host."""

    def __init__(self, session: boto3.Session, job: str) -> None:
        self._logs = session.client("logs")
        self._job = job
        self._tokens: dict[str, str] = {}

    def show(self) -> None:
        """The lines that came since the last call."""
        for line in self._new_lines():
            print(line, flush=True)

    def _new_lines(self) -> Iterator[str]:
        try:
            found = self._logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self._job}/")
        except self._logs.exceptions.ResourceNotFoundException:
            return  # the first job of an account, before its first line
        for stream in found["logStreams"]:
            yield from self._lines_of(stream["logStreamName"])

    def _lines_of(self, stream: str) -> Iterator[str]:
        """A token that does not change says that there is no more for now."""
        while True:
            token = self._tokens.get(stream)
            after = {"nextToken": token} if token else {"startFromHead": True}
            page = self._logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, **after)
            yield from (event["message"] for event in page["events"])
            self._tokens[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == token:
                return


def _saved(done: Description) -> float:
    """The share of the time on spot instances that costs nothing, as SageMaker reckons it."""
    trained, billed = done.get("TrainingTimeInSeconds", 0), done.get("BillableTimeInSeconds", 0)
    return 1 - billed / trained if done.get("EnableManagedSpotTraining") and trained else 0.0
