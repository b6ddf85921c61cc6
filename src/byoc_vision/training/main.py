"""What `train` does, called by the container, by the command line, or by torchrun for each process."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from byoc_vision import hyperparameters as hp
from byoc_vision import script_mode
from byoc_vision.data import pipe_mode
from byoc_vision.data.samples import Dataset
from byoc_vision.job import Job
from byoc_vision.launch import distributed
from byoc_vision.launch.error_files import forget_failure, report_failure
from byoc_vision.launch.local_job import check_root, find_before_writing, is_job, local_job, note_inputs
from byoc_vision.launch.oom import explained
from byoc_vision.launch.signals import StopSignals
from byoc_vision.logs import set_up_logging
from byoc_vision.paths import MlPaths
from byoc_vision.system.gpus import check_gpus, find_gpus

if TYPE_CHECKING:
    from byoc_vision.training.trainer import Trainer

logger = logging.getLogger(__name__)


def train_job(paths: MlPaths, data: Path | None = None, given: Mapping[str, str] | None = None) -> int:
    """Run a job; the process's exit status. A failure is also written to the failure file of a job's folder.

    The only place that catches everything.

    Args:
        paths: where its results go, and where its data are by default.
        data: a folder of images anywhere, instead of the channels below `paths`.
        given: hyperparameters of the command line; they replace those of the job's file.
    """
    forget_failure(paths.failure)
    try:
        return run(paths, data, given or {})
    except Exception as error:
        status = report_failure(paths.failure if is_job(paths) else None, error)
        distributed.leave_failed(status)
        return status


def run(paths: MlPaths, data: Path | None, given: Mapping[str, str]) -> int:
    """Run the user's own script, or start a process for each GPU of this host, or train in this process."""
    raw = {**({} if data else hp.read_raw(paths.hyperparameters)), **given}
    program = script_mode.requested_program(raw, os.environ)
    if program and not data:
        return _run_script(paths, program, raw)
    hyperparameters, found = hp.parse(raw), None
    if data:
        job = local_job(paths, data)
        if not distributed.is_launched():
            from byoc_vision.recipe.resolve_config import data_options  # imports torch

            quiet = distributed.needs_launch(job)
            found = find_before_writing(job, data_options(hyperparameters), quiet=quiet)
            note_inputs(job, given)
    else:
        check_root(paths)
        job = Job.load(paths)
    if distributed.needs_launch(job):
        from byoc_vision.launch.agent import launch

        with StopSignals().listening(), pipe_mode.copied_to_disk(job):
            return launch(job, _command(paths, data, given))
    train(job, hyperparameters, found)
    return 0


def train(job: Job, hyperparameters: hp.Hyperparameters, found: Dataset | None = None) -> None:
    """Train in this process, which may be one of several, and export the model. found: the samples, if they are known.

    Raises:
        UserError: what the user can fix.
        StopRequestedError: the job was asked to stop before training began.
    """
    world = distributed.World.from_environment()
    if world.local_rank > 0:
        set_up_logging(logging.WARNING)  # what all processes of a host do is logged once
    _check_hardware(hyperparameters, world)
    # Imported when it is known that this process trains: an error above is reported within a second.
    from byoc_vision.training.build import build_trainer

    with (
        StopSignals().listening() as signals,
        _without_streams(job) as local,
        distributed.process_group(world),
        explained(hyperparameters.batch_size),
    ):
        trainer = build_trainer(local, hyperparameters, world, signals, found)
        trainer.train()
        if world.is_main:
            if hyperparameters.openvino:
                _export(job.paths, trainer)
            if trainer.budget:
                trainer.budget.end(job.paths.output_data, page=hyperparameters.report)
            logger.info("The model is in %s, its metrics are in %s", job.paths.model, job.paths.output_data)


def _export(paths: MlPaths, trainer: Trainer) -> None:
    """Write the model for CPUs, and measure it. It is optional: what fails costs a warning."""
    from byoc_vision.inference.openvino_model import export_openvino

    began = time.monotonic()
    if not export_openvino(paths.model):
        return
    if trainer.budget:
        trainer.budget.exported(time.monotonic() - began)
    from byoc_vision.training.served_precisions import record_served

    record_served(paths.model, paths.output_data, trainer)


def _run_script(paths: MlPaths, program: str, raw: Mapping[str, object]) -> int:
    script_mode.check_toolkit(program)
    logger.info("Script mode: %s runs through sagemaker-training", program)
    if script_mode.has_module(os.environ):
        script_mode.run_toolkit()
    from byoc_vision.user_script.job import run_job

    return run_job(paths, program, raw)


def _command(paths: MlPaths, data: Path | None, given: Mapping[str, str]) -> list[str]:
    """The arguments with which another process runs the same job."""
    place = [os.path.abspath(data), "--output", str(paths.root)] if data else ["--root", str(paths.root)]
    return ["train", *place, *(f"{name}={value}" for name, value in given.items())]


@contextmanager
def _without_streams(job: Job) -> Iterator[Job]:
    """The job with folders only: streams are read here, or were read before the processes were launched."""
    if distributed.is_launched():
        yield pipe_mode.with_copies(job)
        return
    with pipe_mode.copied_to_disk(job) as local:
        yield local


def _check_hardware(hyperparameters: hp.Hyperparameters, world: distributed.World) -> None:
    """One line for each host that lists its GPUs. Raises ResourceError, in each process, if they cannot be used."""
    gpus = find_gpus()
    logger.info("%s", gpus)
    warning = check_gpus(gpus, allow_cpu_fallback=hyperparameters.allow_cpu_fallback)
    if warning and world.local_rank == 0:
        logger.warning(warning)
