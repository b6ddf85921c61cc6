"""The job as a run on the MLflow server that MLFLOW_TRACKING_URI names.

A server that is down, refuses or hangs costs a warning and some seconds, once; then nothing more is sent.
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
from byoc_vision.job import JOB_NAME
from byoc_vision.logs import redact_lines_of
from byoc_vision.redaction import redact
from byoc_vision.report.record import RECORD_FILE, REPORT_FILE, Epoch, Record, State
from byoc_vision.training.callback import Callback
from byoc_vision.training.callbacks.run_record import epoch_metrics, final_metrics, parameters

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
DEFAULT_EXPERIMENT = "byoc-vision"
RUN_FILE = "mlflow.json"  # in the checkpoint folder, which follows a job that is restarted
MODEL_FOLDER = "model"

REMEDY = (
    "build the image with `make build MLFLOW=1` (docker build --build-arg MLFLOW=1); on a laptop, "
    "pip install 'byoc-vision[mlflow]'"
)

# While requests are sent, unless the user set them: its own defaults wait for many minutes.
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


class Mlflow(Callback):
    """Parameters, the metrics of each epoch, and at the end the record, the report and the model.

    checkpoints: where the run's id is kept for a restarted job; None if a restarted job does not continue.
    model, output: the job's folders.
    """

    def __init__(
        self, uri: str, checkpoints: Path | None, model: Path, output: Path, environment: Mapping[str, str]
    ) -> None:
        self._uri = uri
        self._run_file = checkpoints / RUN_FILE if checkpoints else None
        self._model = model
        self._output = output
        self._environment = environment
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._sent: set[int] = set()  # epochs

    def train_begin(self, record: Record) -> None:
        with _variables(LIMITS):
            try:
                from mlflow import MlflowClient
            except ImportError as error:
                logger.warning("%s is set, but nothing is sent to it (%s); %s", URI_VARIABLE, error, REMEDY)
                return
            redact_lines_of(logging.getLogger("mlflow"))  # it has a handler of its own
            with self._warned():
                client = MlflowClient(self._uri)
                run = self._earlier_run(client) or self._new_run(client, record)
                self._run_id = run.info.run_id
                self._keep_id()
                self._send_parameters(client, run, record)
                self._sent = {metric.step for metric in client.get_metric_history(self._run_id, "train/loss")}
                self._client = client
                for epoch in record.epochs:
                    self._send_epoch(client, epoch)
                logger.info("MLflow's run %s at %s follows this job", self._run_id, self._uri)

    def epoch_end(self, record: Record) -> None:
        if self._client:
            with _variables(LIMITS), self._warned():
                self._send_epoch(self._client, record.epochs[-1])

    def train_end(self, record: Record) -> None:
        if not self._client:
            return
        status = STATUS.get(record.state, "FINISHED")
        with self._warned():
            with _variables(LIMITS):
                self._send_metrics(self._client, final_metrics(record), len(record.epochs))
            with _variables(UPLOAD_LIMITS):
                for name in (RECORD_FILE, REPORT_FILE):
                    if (self._output / name).is_file():
                        self._client.log_artifact(self._run_id, str(self._output / name))
                # A job that is asked to stop has two minutes; its model continues from the checkpoint.
                if status == "FINISHED" and self._model.is_dir():
                    self._client.log_artifacts(self._run_id, str(self._model), MODEL_FOLDER)
            with _variables(LIMITS):
                self._client.set_terminated(self._run_id, status)

    def _earlier_run(self, client: MlflowClient) -> Run | None:
        """The run that an earlier start of the job made, running again."""
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
            logger.warning("MLflow's run %s is gone (%s); starting a new one", run_id, error.message)
            return None
        return run

    def _new_run(self, client: MlflowClient, record: Record) -> Run:
        name = self._environment.get(EXPERIMENT_VARIABLE) or DEFAULT_EXPERIMENT
        experiment = client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
        job = self._environment.get(JOB_NAME, "")
        tags = {
            "byoc_vision.version": __version__,
            "byoc_vision.task": record.task,
            "byoc_vision.model": record.run.model,
            "sagemaker.training_job_name": job,
        }
        tags = {key: value for key, value in tags.items() if value}
        return client.create_run(experiment_id, tags=tags, run_name=record.name or job or None)

    def _send_parameters(self, client: MlflowClient, run: Run, record: Record) -> None:
        """A parameter cannot be changed: what differs in a restarted job becomes a tag."""
        from mlflow.entities import Param, RunTag

        sent, now = run.data.params, parameters(record)
        given = ", ".join(record.run.given) or "-"
        changed = [RunTag(f"resumed.{name}", value) for name, value in now.items() if sent.get(name, value) != value]
        new = [Param(name, value) for name, value in now.items() if name not in sent]
        client.log_batch(self._run_id, params=new, tags=[RunTag("byoc_vision.given", given), *changed])

    def _send_epoch(self, client: MlflowClient, epoch: Epoch) -> None:
        if epoch.epoch not in self._sent:
            self._send_metrics(client, epoch_metrics(epoch), epoch.epoch)
            self._sent.add(epoch.epoch)

    def _send_metrics(self, client: MlflowClient, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = iter([Metric(_NOT_ALLOWED.sub("_", name), value, now, step) for name, value in values.items()])
        while batch := list(islice(metrics, _MOST_METRICS)):
            client.log_batch(self._run_id, metrics=batch)

    def _kept_id(self) -> str | None:
        """The id that was kept, if it is of this server."""
        try:
            kept = json.loads(self._run_file.read_text(encoding="utf-8")) if self._run_file else {}
        except (OSError, ValueError):
            return None
        known = isinstance(kept, dict) and redact(str(kept.get("uri"))) == redact(self._uri)
        return str(kept["run_id"]) if known and "run_id" in kept else None

    def _keep_id(self) -> None:
        if self._run_file:
            self._run_file.parent.mkdir(parents=True, exist_ok=True)
            self._run_file.write_text(json.dumps({"uri": redact(self._uri), "run_id": self._run_id}), encoding="utf-8")

    @contextmanager
    def _warned(self) -> Iterator[None]:
        """After a failure nothing more is sent."""
        try:
            yield
        except Exception as error:  # plugins raise anything: no job fails because of its tracker
            self._client = None
            missing = self._uri.startswith("arn:") and find_spec("sagemaker_mlflow") is None
            remedy = f"it takes the package sagemaker-mlflow; {REMEDY}" if missing else f"check {URI_VARIABLE}"
            reason = redact(str(error)).partition("\n")[0][:300]
            logger.warning("Nothing more is sent to MLflow at %s (%s); %s", self._uri, reason, remedy)


@contextmanager
def _variables(limits: Mapping[str, str]) -> Iterator[None]:
    """With those of MLflow's own variables set that the user did not set."""
    added = {name: value for name, value in (QUIET | dict(limits)).items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
