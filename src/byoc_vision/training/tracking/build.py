"""Which trackers a job has."""

from __future__ import annotations

import os
from collections.abc import Mapping

from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.paths import MlPaths
from byoc_vision.training.batch_layout import Progress
from byoc_vision.training.callbacks.mlflow import URI_VARIABLE, MlflowTracker
from byoc_vision.training.callbacks.tensorboard import TensorBoardTracker
from byoc_vision.training.tracking.tracker import Tracker, Trackers
from byoc_vision.training.trainer import Trainer


def build_trackers(
    paths: MlPaths,
    hyperparameters: Hyperparameters,
    trainer: Trainer,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
) -> Trackers:
    """Those that the job asks for; none but in the first process. Call it once the job is resumed.

    progress: where the training goes on. The trainer tells its steps from here on.
    """
    if not trainer.world.is_first:
        return Trackers()
    trackers: list[Tracker] = []
    if hyperparameters.tensorboard:
        tensorboard = TensorBoardTracker(
            paths.tensorboard,
            paths.output_data,
            steps_per_epoch=trainer.steps_per_epoch,
            done=trainer.steps_done(progress.epoch, progress.batch),
            weights=trainer.net.named_parameters if hyperparameters.tensorboard_histograms else None,
        )
        trainer.observe(tensorboard.step_losses)
        trackers.append(tensorboard)
    if uri := environment.get(URI_VARIABLE):
        goes_on = hyperparameters.checkpoint_keep and hyperparameters.resume == "auto"
        trackers.append(MlflowTracker(uri, paths.checkpoints if goes_on else None, paths.model, environment))
    return Trackers(trackers)
