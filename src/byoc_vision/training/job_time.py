"""How long a job may take, and how long it has taken."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from byoc_vision.hyperparameters.fields import seconds_of
from byoc_vision.paths import MlPaths
from byoc_vision.training.callbacks.progress import max_runtime
from byoc_vision.training.callbacks.time_to_first_step import seconds_since_start
from byoc_vision.training.distributed import World, is_launched, on_rank0

RESERVE_SHARE = 0.05  # of SageMaker's MaxRuntimeInSeconds, for what it does before and after the job's process
LEAST_RESERVE = 60.0
MOST_RESERVE = 600.0
JOB_NAME = "TRAINING_JOB_NAME"  # set by SageMaker

logger = logging.getLogger(__name__)


def job_clock(clock: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """Seconds since the start of the job's process: of the one that launched this one, if there are several."""
    process = os.getppid() if is_launched() else "self"
    begun = clock() - (seconds_since_start(Path(f"/proc/{process}/stat")) or 0.0)
    return lambda: clock() - begun


def budget_seconds(
    budget: str | None, paths: MlPaths, world: World, environment: Mapping[str, str] = os.environ
) -> float | None:
    """The seconds that the job may take; None if it has no budget. The same in all processes.

    budget: the hyperparameter. `auto` is SageMaker's limit less a reserve, if the limit can be found.
    """
    if budget is None:
        return None
    if budget != "auto":
        return seconds_of(budget)
    limit = on_rank0(world, lambda: max_runtime(paths.training_job_config, environment) or _described(environment))
    if limit is None:
        logger.info(
            "budget=auto: the job's MaxRuntimeInSeconds is not known here (BYOC_MAX_RUNTIME_SECONDS would say it); the "
            "job trains as without a budget"
        )
        return None
    seconds = limit - reserve_of(limit)
    logger.info("budget=auto: %.0f s, of MaxRuntimeInSeconds=%.0f", seconds, limit)
    return seconds


def reserve_of(limit: float) -> float:
    """The part of a limit that is not planned: but for very short ones from one to ten minutes."""
    return min(max(RESERVE_SHARE * limit, min(LEAST_RESERVE, limit / 4)), MOST_RESERVE)


def _described(environment: Mapping[str, str]) -> float | None:
    """What SageMaker says about this job, if its role may ask and the network is there."""
    name = environment.get(JOB_NAME)
    if not name:
        return None
    try:
        import boto3
        from botocore.config import Config

        quick = Config(connect_timeout=3, read_timeout=5, retries={"max_attempts": 1})
        client = boto3.client("sagemaker", region_name=environment.get("AWS_REGION"), config=quick)
        answer: dict[str, Any] = client.describe_training_job(TrainingJobName=name)
        return float(answer["StoppingCondition"]["MaxRuntimeInSeconds"])
    except Exception as error:  # of boto3: no region, no credentials, no network, no permission
        logger.info("budget=auto: SageMaker does not say how long the job may run: %s", error)
        return None
