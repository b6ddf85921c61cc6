"""How long a job may take, as it says or as SageMaker says; and how long it has taken."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import forked, started
from support.aws import KEYS

from byoc_vision.errors import InputError
from byoc_vision.job import JOB_NAME
from byoc_vision.launch.distributed import World
from byoc_vision.launch.job_time import (
    MAX_RUNTIME,
    budget_seconds,
    job_clock,
    max_runtime,
    reserve_of,
    seconds_since_start,
)
from byoc_vision.paths import MlPaths


class SageMaker(BaseHTTPRequestHandler):
    """Knows one job, which may run for an hour."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = asked == {"TrainingJobName": "cars-1"}
        answer = {"StoppingCondition": {"MaxRuntimeInSeconds": 3600}} if known else {"__type": "ValidationException"}
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def sagemaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), SageMaker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_DEFAULT_REGION")  # SageMaker sets AWS_REGION alone, which boto3 does not read
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def seconds(root: Path, budget: str | None, **environment: str) -> float | None:
    return budget_seconds(budget, MlPaths(root), World(), environment)


def test_a_time_is_taken_as_it_is(tmp_path: Path) -> None:
    assert seconds(tmp_path, None) is None
    assert seconds(tmp_path, "1h30m") == 5400
    assert seconds(tmp_path, "90s", **{MAX_RUNTIME: "3600"}) == 90


def test_auto_is_the_limit_that_the_job_was_given_less_a_reserve(tmp_path: Path) -> None:
    assert seconds(tmp_path, "auto", **{MAX_RUNTIME: "3600"}) == 3600 - 180
    paths = MlPaths(tmp_path)
    paths.training_job_config.parent.mkdir(parents=True)
    paths.training_job_config.write_text('{"StoppingCondition": {"MaxRuntimeInSeconds": 86400}}', encoding="utf-8")
    assert seconds(tmp_path, "auto") == 86_400 - 600


@pytest.mark.usefixtures("sagemaker")
def test_auto_asks_sagemaker_if_nothing_in_the_container_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    region = {"AWS_REGION": "eu-west-1"}
    assert seconds(tmp_path, "auto", **{JOB_NAME: "cars-1"}, **region) == 3600 - 180
    assert "budget=auto: 3420 s, of MaxRuntimeInSeconds=3600" in caplog.text
    assert seconds(tmp_path, "auto", **{JOB_NAME: "of-another-account"}, **region) is None
    assert "SageMaker does not say how long the job may run" in caplog.text
    assert "the job trains as without a budget" in caplog.text


def test_auto_outside_of_sagemaker_is_not_a_budget(tmp_path: Path) -> None:
    assert seconds(tmp_path, "auto") is None


def test_the_reserve_of_a_limit() -> None:
    assert [reserve_of(limit) for limit in (120, 600, 1200, 3600, 86_400)] == [30, 60, 60, 180, 600]


def test_the_clock_counts_from_the_start_of_the_process() -> None:
    since_start = seconds_since_start()
    assert since_start is not None
    assert job_clock()() >= since_start - 0.1


def test_seconds_count_from_the_start_of_the_process(tmp_path: Path) -> None:
    log, before = tmp_path / "log", time.monotonic()
    assert forked.start(started.tell_seconds, log=log).wait(60) == 0, log.read_text()
    tick = 0.02  # of the clock that counts starts, twice
    assert started.PAUSE - tick <= float(log.read_text()) <= time.monotonic() - before + tick


@pytest.mark.parametrize("content", [None, "", "1 (name) S 2 3"])
def test_a_system_that_does_not_tell(tmp_path: Path, content: str | None) -> None:
    facts = tmp_path / "stat"
    if content is not None:
        facts.write_text(content)
    assert seconds_since_start(facts) is None


def test_the_limit_comes_from_the_environment(tmp_path: Path) -> None:
    assert max_runtime(tmp_path, {}) is None
    assert max_runtime(tmp_path, {MAX_RUNTIME: "3600"}) == 3600
    for wrong in ("1h", "0", "-5"):
        with pytest.raises(InputError, match=MAX_RUNTIME):
            max_runtime(tmp_path, {MAX_RUNTIME: wrong})


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        ('{"StoppingCondition": {"MaxRuntimeInSeconds": 86400}}', 86400),
        ('{"StoppingCondition": {"MaxRuntimeInSeconds": "1 day"}}', None),
        ('{"StoppingCondition": []}', None),
        ("[", None),
    ],
)
def test_the_limit_comes_from_the_request_that_sagemaker_copies(
    tmp_path: Path, content: str, seconds: float | None
) -> None:
    (tmp_path / "trainingjobconfig.json").write_text(content)
    assert max_runtime(tmp_path / "trainingjobconfig.json", {}) == seconds
