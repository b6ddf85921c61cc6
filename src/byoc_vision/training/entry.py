"""What `train` does, whoever calls it: the container, the command line, or torchrun for each process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from byoc_vision import hyperparameters as hp
from byoc_vision import script_mode
from byoc_vision.data import pipes
from byoc_vision.job import Job
from byoc_vision.paths import MlPaths
from byoc_vision.training import distribution
from byoc_vision.training.failure import report_failures
from byoc_vision.training.interruption import Interruption

log = logging.getLogger(__name__)


def train_job(paths: MlPaths) -> int:
    """Run the job below `paths`; the process's exit status. What goes wrong stands in the failure file."""
    return report_failures(paths.failure, lambda: _train(paths))


def _train(paths: MlPaths) -> None:
    raw = hp.read_raw(paths.hyperparameters)
    if program := script_mode.requested_program(raw, os.environ):
        toolkit = script_mode.toolkit_command(program, str(paths.root))
        log.info("Script mode: %s runs through sagemaker-training", program)
        script_mode.run_toolkit(toolkit)
    hyperparameters = hp.parse(raw)
    job = Job.load(paths)
    command = distribution.launch_command(job, ["train", "--root", str(paths.root)])
    if command:
        pipes.spool(job)
        _become_torchrun(job, command)
    # Imported once it is known that this process trains: a mistake above is answered in a second.
    from byoc_vision.training.run import run

    world = distribution.World.from_environment()
    with (
        Interruption().listening() as interruption,
        _without_streams(job) as local,
        distribution.process_group(world),
    ):
        run(local, hyperparameters, world, interruption)


@contextmanager
def _without_streams(job: Job) -> Iterator[Job]:
    """The job with folders alone: what comes as a stream is read here, or was before torchrun took over."""
    if distribution.is_launched():
        yield pipes.with_spooled(job)
        return
    with pipes.spooled(job) as local:
        yield local


def _become_torchrun(job: Job, command: list[str]) -> None:
    """Replace this process by torchrun, so that as PID 1 it receives the signals."""
    distribution.wait_for_hosts(job.hosts)
    log.info(
        "Starting %d process(es) on this host, %d host(s) in all", distribution.processes_per_host(), len(job.hosts)
    )
    sys.stdout.flush()
    os.execve(command[0], command, distribution.launch_environment(job))
