"""What a run will cost and how long it takes, as far as that is known, and the question before it starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import boto3
from botocore.exceptions import ClientError
from options import LEARNING, Options

PRICES = "https://aws.amazon.com/sagemaker/ai/pricing/"
_SPEED = "images_per_second"
_LOOKED_AT = 10  # earlier jobs
_DECIDES_SPEED = ("model", "encoder", "image_size", "batch_size", "precision")


def agree(options: Options, images: int | None = None, speed: float | None = None) -> None:
    """Say what will be started and what it costs, and ask. Ends the process if the answer is no.

    images: for training. speed: images per second, see `earlier_speed`.
    """
    lines = ["This is what you will pay for:", *_paid_for(options), *_expected(options, images, speed)]
    print("\n".join([*lines, f"Prices: {PRICES}"]), flush=True)
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise SystemExit("Nothing was started; --yes goes on without a question.")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise SystemExit("Nothing was started.")


def earlier_speed(options: Options, session: boto3.Session) -> float | None:
    """Images per second of the newest completed job of the same --name, model, image size and instances."""
    sagemaker = session.client("sagemaker")
    wanted = {name: options.hyperparameters.get(name) for name in _DECIDES_SPEED}
    try:
        jobs = sagemaker.list_training_jobs(
            NameContains=options.name, StatusEquals="Completed", SortOrder="Descending", MaxResults=_LOOKED_AT
        )["TrainingJobSummaries"]
        for job in jobs:
            seen = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
            given = seen.get("HyperParameters", {})
            machines = seen["ResourceConfig"]
            if (
                {name: given.get(name) for name in _DECIDES_SPEED} == wanted
                and machines.get("InstanceType") == options.training_instance
                and machines.get("InstanceCount") == options.instance_count
            ):
                for metric in seen.get("FinalMetricDataList", []):
                    if metric["MetricName"] == _SPEED and metric["Value"] > 0:
                        return float(metric["Value"])
    except ClientError:
        pass  # an estimate is not worth an error
    return None


def _paid_for(options: Options) -> Iterator[str]:
    for step in options.steps:
        if step in LEARNING:
            job = f"{options.instance_count} × {options.training_instance}{', spot' if options.spot else ''}"
            job += f", {options.longest_job // 60} minutes at the most"
            yield f"  {step}: {job}" if step == "train" else f"  tune: {options.jobs} jobs, each {job}"
        elif step == "serverless":
            yield f"  serverless: a request with {options.serverless_mb} MB of memory"
        else:
            instance = options.serving_instance if step == "deploy" else options.cpu_instance
            yield f"  {step}: 1 × {instance}, {'until you delete it' if options.keep else 'for some minutes'}"
    yield "  the files in S3 meanwhile"


def _expected(options: Options, images: int | None, speed: float | None) -> Iterator[str]:
    """Of the training; an instance is also paid for while it loads the image, some minutes."""
    if not set(options.steps) & set(LEARNING):
        return
    jobs = options.jobs if "tune" in options.steps else 1
    each = " for each job" if jobs > 1 else ""
    given, epochs = options.images_per_second, options.recipe.hyperparameters.epochs
    if images and (known := given or speed):
        seconds = images * epochs / known
        basis = f"{images} images × {epochs} epochs at {known:g} images/s, from {_source(given)}"
        yield f"Expected: {_duration(seconds)}{each} ({basis}){_cost(options, seconds, jobs)}"
        if seconds > options.longest_job:
            yield f"That is longer than --longest-job={options.longest_job}: the job would end before its last epoch."
    else:
        yield "Expected: not known; --images-per-second takes what the log of an earlier job says"
    at_most = _cost(options, options.longest_job, jobs) or "; --price-per-hour=USD shows the cost"
    yield f"At most: {_duration(options.longest_job)}{each}{at_most}"


def _source(given: float | None) -> str:
    return "--images-per-second" if given else "an earlier job"


def _cost(options: Options, seconds: float, jobs: int) -> str:
    if options.price_per_hour is None:
        return ""
    cost = seconds / 3600 * options.price_per_hour * options.instance_count * jobs
    return f", {cost:.2f} USD{', less on spot instances' if options.spot else ''}"


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
