"""The job as a run on the MLflow server that MLFLOW_TRACKING_URI names.

A server that is down, refuses or hangs costs a warning and some seconds, once: nothing more is sent then.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from byoc_vision import __version__
from byoc_vision.report.record import RECORD_FILE, REPORT_FILE, Epoch, Record, State
from byoc_vision.training.callbacks.record_metrics import epoch_figures, final_figures, parameters

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
DEFAULT_EXPERIMENT = "byoc-vision"
JOB_VARIABLE = "TRAINING_JOB_NAME"  # SageMaker sets it
RUN_FILE = "mlflow.json"  # in the checkpoint folder, which follows a job that is restarted
MODEL_FOLDER = "model"

REMEDY = (
    "build the image with `make build MLFLOW=1` (docker build --build-arg MLFLOW=1); on a laptop, "
    "pip install 'byoc-vision[mlflow]'"
)

# For as long as it is spoken to, where the user has not set them: its own values wait for many minutes.
LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
UPLOAD_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}

STATUS: dict[State, str] = {"running": "RUNNING", "interrupted": "KILLED", "failed": "FAILED"}  # else FINISHED

_MOST_METRICS = 1000  # of a request
_NOT_ALLOWED = re.compile(r"[^\w/.\- ]")

logger = logging.getLogger(__name__)


class MlflowTracker:
    """Parameters, the figures of each epoch, and at the end the record, the report and the model.

    checkpoints: where the run's id is kept for a restarted job; None where it is not to go on. model: the folder.
    """

    def __init__(self, uri: str, checkpoints: Path | None, model: Path, environment: Mapping[str, str]) -> None:
        self._uri = uri
        self._run_file = checkpoints / RUN_FILE if checkpoints else None
        self._model = model
        self._environment = environment
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._told: set[int] = set()  # epochs

    def begin(self, record: Record) -> None:
        with _speaking(LIMITS):
            try:
                from mlflow import MlflowClient
            except ImportError as error:
                logger.warning("%s is set, but nothing goes there (%s); %s", URI_VARIABLE, error, REMEDY)
                return
            with self._warned():
                client = MlflowClient(self._uri)
                run = self._earlier_run(client) or self._new_run(client, record)
                self._run_id = run.info.run_id
                self._keep_id()
                self._tell_parameters(client, run, record)
                self._told = {metric.step for metric in client.get_metric_history(self._run_id, "train/loss")}
                self._client = client
                for epoch in record.epochs:
                    self._tell(client, epoch)
                logger.info("MLflow's run %s at %s follows this job", self._run_id, self._uri)

    def epoch(self, record: Record) -> None:
        if self._client:
            with _speaking(LIMITS), self._warned():
                self._tell(self._client, record.epochs[-1])

    def end(self, record: Record, folder: Path) -> None:
        if not self._client:
            return
        status = STATUS.get(record.state, "FINISHED")
        with self._warned():
            with _speaking(LIMITS):
                self._tell_figures(self._client, final_figures(record), len(record.epochs))
            with _speaking(UPLOAD_LIMITS):
                for name in (RECORD_FILE, REPORT_FILE):
                    if (folder / name).is_file():
                        self._client.log_artifact(self._run_id, str(folder / name))
                # Who is asked to stop has two minutes; the model goes on from the checkpoint.
                if status == "FINISHED" and self._model.is_dir():
                    self._client.log_artifacts(self._run_id, str(self._model), MODEL_FOLDER)
            with _speaking(LIMITS):
                self._client.set_terminated(self._run_id, status)

    def _earlier_run(self, client: MlflowClient) -> Run | None:
        """The run that an earlier start of the job has begun, once more under way."""
        from mlflow.exceptions import MlflowException

        run_id = self._kept_id()
        if run_id is None:
            return None
        try:
            run = client.get_run(run_id)
            client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            logger.warning("MLflow's run %s is not to be had any more (%s); a new one begins", run_id, error.message)
            return None
        return run

    def _new_run(self, client: MlflowClient, record: Record) -> Run:
        name = self._environment.get(EXPERIMENT_VARIABLE) or DEFAULT_EXPERIMENT
        experiment = client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
        job = self._environment.get(JOB_VARIABLE, "")
        tags = {
            "byoc_vision.version": __version__,
            "byoc_vision.task": record.task,
            "byoc_vision.model": record.run.model,
            "sagemaker.training_job_name": job,
        }
        tags = {key: value for key, value in tags.items() if value}
        return client.create_run(experiment_id, tags=tags, run_name=record.name or job or None)

    def _tell_parameters(self, client: MlflowClient, run: Run, record: Record) -> None:
        """A parameter cannot be changed: what a restarted job does otherwise becomes a tag."""
        from mlflow.entities import Param, RunTag

        told, now = run.data.params, parameters(record)
        given = ", ".join(record.run.given) or "-"
        changed = [RunTag(f"resumed.{name}", value) for name, value in now.items() if told.get(name, value) != value]
        new = [Param(name, value) for name, value in now.items() if name not in told]
        client.log_batch(self._run_id, params=new, tags=[RunTag("byoc_vision.given", given), *changed])

    def _tell(self, client: MlflowClient, epoch: Epoch) -> None:
        if epoch.epoch not in self._told:
            self._tell_figures(client, epoch_figures(epoch), epoch.epoch)
            self._told.add(epoch.epoch)

    def _tell_figures(self, client: MlflowClient, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = iter([Metric(_NOT_ALLOWED.sub("_", name), value, now, step) for name, value in figures.items()])
        while batch := list(islice(metrics, _MOST_METRICS)):
            client.log_batch(self._run_id, metrics=batch)

    def _kept_id(self) -> str | None:
        """The id that was kept, if it is of this server."""
        try:
            kept = json.loads(self._run_file.read_text(encoding="utf-8")) if self._run_file else {}
        except (OSError, ValueError):
            return None
        known = isinstance(kept, dict) and kept.get("uri") == self._uri
        return str(kept["run_id"]) if known and "run_id" in kept else None

    def _keep_id(self) -> None:
        if self._run_file:
            self._run_file.parent.mkdir(parents=True, exist_ok=True)
            self._run_file.write_text(json.dumps({"uri": self._uri, "run_id": self._run_id}), encoding="utf-8")

    @contextmanager
    def _warned(self) -> Iterator[None]:
        """What fails is the last that is sent."""
        try:
            yield
        except Exception as error:  # plugins for stores of all kinds raise what they like: no job fails of its tracker
            self._client = None
            missing = self._uri.startswith("arn:") and find_spec("sagemaker_mlflow") is None
            remedy = f"it takes the package sagemaker-mlflow; {REMEDY}" if missing else f"check {URI_VARIABLE}"
            reason = str(error).partition("\n")[0][:300]
            logger.warning("Nothing more goes to MLflow at %s (%s); %s", self._uri, reason, remedy)


@contextmanager
def _speaking(limits: Mapping[str, str]) -> Iterator[None]:
    """With MLflow's own variables set as far as the user has not set them."""
    added = {name: value for name, value in (QUIET | dict(limits)).items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
