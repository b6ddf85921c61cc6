"""What `train` does, whoever calls it: the container, the command line, or torchrun for each process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from byoc_vision import hyperparameters as hp
from byoc_vision import script_mode
from byoc_vision.data import pipe_mode
from byoc_vision.job import Job
from byoc_vision.logs import set_up_logging
from byoc_vision.paths import MlPaths
from byoc_vision.system.gpus import check_driver, find_gpus
from byoc_vision.training import distributed
from byoc_vision.training.oom import explained
from byoc_vision.training.failure import report_failures
from byoc_vision.training.signals import Interruption

logger = logging.getLogger(__name__)


def train_job(paths: MlPaths) -> int:
    """Run the job below `paths`; the process's exit status. What goes wrong stands in the failure file."""
    return report_failures(paths.failure, lambda: _train(paths))


def _train(paths: MlPaths) -> int:
    raw = hp.read_raw(paths.hyperparameters)
    if program := script_mode.requested_program(raw, os.environ):
        toolkit = script_mode.toolkit_command(program, str(paths.root))
        logger.info("Script mode: %s runs through sagemaker-training", program)
        script_mode.run_toolkit(toolkit)
    hyperparameters = hp.parse(raw)
    job = Job.load(paths)
    if distributed.needs_launch(job):
        from byoc_vision.training.launch import launch

        with Interruption().listening(), pipe_mode.copied_to_disk(job):
            return launch(job, ["train", "--root", str(paths.root)])
    world = distributed.World.from_environment()
    if world.local_rank == 0:
        _tell_hardware(hyperparameters)
    else:
        set_up_logging(logging.WARNING)  # what all processes of a host do is told once
    # Imported once it is known that this process trains: a mistake above is answered in a second.
    from byoc_vision.training.run import run

    with (
        Interruption().listening() as interruption,
        _without_streams(job) as local,
        distributed.process_group(world),
        explained(hyperparameters.batch_size),
    ):
        run(local, hyperparameters, world, interruption)
    return 0


@contextmanager
def _without_streams(job: Job) -> Iterator[Job]:
    """The job with folders alone: what comes as a stream is read here, or was before the processes were launched."""
    if distributed.is_launched():
        yield pipe_mode.with_copies(job)
        return
    with pipe_mode.copied_to_disk(job) as local:
        yield local


def _tell_hardware(hyperparameters: hp.Hyperparameters) -> None:
    """One line, once a host. Raises ResourceError where the GPU's driver is too old."""
    gpus = find_gpus()
    logger.info("%s", gpus)
    if warning := check_driver(gpus, allow_cpu_fallback=hyperparameters.allow_cpu_fallback):
        logger.warning(warning)
