"""SageMaker's tuner: its options in each client's words, and the table of a search's jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
from options import Options
from watching import Description, wait_for

_MOST_ROWS = 10
Json = dict[str, Any]


def request_of(options: Options) -> tuple[Json, Json]:
    """For boto3: what HyperParameterTuningJobConfig holds beside the search space, and what stands beside it."""
    config: Json = {"TrainingJobEarlyStoppingType": early_stopping_type(options)}
    if options.patience is not None:
        criteria = {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": options.patience}}
        config["TuningJobCompletionCriteria"] = criteria
    if not options.warm_start:
        return config, {}
    parents = [{"HyperParameterTuningJobName": name} for name in options.warm_start]
    warm_start = {"ParentHyperParameterTuningJobs": parents, "WarmStartType": options.warm_start_type}
    return config, {"WarmStartConfig": warm_start}


def early_stopping_type(options: Options) -> str:
    return "Auto" if options.early_stopping else "Off"


def finish(session: boto3.Session, job: str, options: Options) -> str:
    """Wait for a search, and show its jobs. The address of the best one's model."""
    sagemaker = session.client("sagemaker")
    progress = _Progress(job)

    def describe() -> Description:
        return dict(progress.tell(sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=job)))

    done = wait_for(job, describe, "HyperParameterTuningJobStatus")
    best = done.get("BestTrainingJob")
    if not best:
        raise SystemExit(f"{job}: none of its jobs has measured {options.objective}; their logs say why")
    print("\n".join(_table(sagemaker, job, options)), flush=True)
    print(f"best job: {best['TrainingJobName']} with {best['TunedHyperParameters']}", flush=True)
    description = sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    return str(description["ModelArtifacts"]["S3ModelArtifacts"])


class _Progress:
    """Says how many jobs have ended, whenever that changes."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._seen: tuple[int, ...] | None = None

    def tell(self, description: Description) -> Description:
        counters = description.get("TrainingJobStatusCounters", {})
        failed = counters.get("NonRetryableError", 0) + counters.get("RetryableError", 0)
        now = (counters.get("InProgress", 0), counters.get("Completed", 0), counters.get("Stopped", 0), failed)
        if now != self._seen and any(now):
            running, completed, stopped, failed = now
            best = description.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric", {})
            value = f"; best {best['MetricName']} {best['Value']:.4g}" if best else ""
            print(f"{self._job}: {running} running, {completed} completed, {stopped} stopped, {failed} failed{value}")
        self._seen = now
        return description


def _table(sagemaker: Any, job: str, options: Options) -> Iterator[str]:
    """The best jobs, each with the metrics that were asked for and the hyperparameters that vary."""
    found = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=job,
        SortBy="FinalObjectiveMetricValue",
        SortOrder="Ascending" if options.objective == "validation:loss" else "Descending",
        MaxResults=_MOST_ROWS,
    )["TrainingJobSummaries"]
    columns = list(dict.fromkeys([options.objective, *options.shown_metrics]))
    rows = [("job", *columns, "state", "hyperparameters")]
    for summary in found:
        name = summary["TrainingJobName"]
        metrics = sagemaker.describe_training_job(TrainingJobName=name).get("FinalMetricDataList", [])
        values = {metric["MetricName"]: metric["Value"] for metric in metrics}
        tuned = " ".join(f"{key}={value}" for key, value in sorted(summary["TunedHyperParameters"].items()))
        shown = [f"{values[column]:.4g}" if column in values else "–" for column in columns]
        rows.append((name.removeprefix(f"{job}-"), *shown, summary["TrainingJobStatus"], tuned))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
