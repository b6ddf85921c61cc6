"""How long a job may take, and how long it has taken."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from byoc_vision.errors import InputError
from byoc_vision.hyperparameters.fields import seconds_of
from byoc_vision.io import read_object
from byoc_vision.job import JOB_NAME
from byoc_vision.launch.distributed import World, is_launched, on_rank0
from byoc_vision.paths import MlPaths

MAX_RUNTIME = "BYOC_MAX_RUNTIME_SECONDS"  # set by the scripts in examples/on_sagemaker
RESERVE_SHARE = 0.05  # of SageMaker's MaxRuntimeInSeconds, for what it does before and after the job's process
LEAST_RESERVE = 60.0
MOST_RESERVE = 600.0

_OWN_STAT = Path("/proc/self/stat")
_STARTED = 19  # starttime, counted from the field after the program's name: proc_pid_stat(5)

logger = logging.getLogger(__name__)


def seconds_since_start(stat: Path = _OWN_STAT) -> float | None:
    """Since this process was started, its imports included; None if the system does not say."""
    try:
        fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        started = int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError, ValueError, IndexError):
        return None


def job_clock(clock: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """Seconds since the start of the job's process: of the one that launched this one, if there are several."""
    process = os.getppid() if is_launched() else "self"
    begun = clock() - (seconds_since_start(Path(f"/proc/{process}/stat")) or 0.0)
    return lambda: clock() - begun


def max_runtime(job_config: Path, environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds that SageMaker lets the job run; None if neither the variable nor SageMaker's copy of the request says.

    Raises InputError if the variable is not a number above 0. The file is not documented: any other content is ignored.
    """
    text = environment.get(MAX_RUNTIME)
    if not text:
        with suppress(InputError):
            stopping = read_object(job_config).get("StoppingCondition")
            seconds = stopping.get("MaxRuntimeInSeconds") if isinstance(stopping, dict) else None
            return float(seconds) if isinstance(seconds, int) and seconds > 0 else None
        return None
    if not text.isdecimal() or not int(text):
        raise InputError(f"{MAX_RUNTIME}={text} is not a number of seconds above 0; give it MaxRuntimeInSeconds")
    return float(text)


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
