"""What is written down of each request."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byoc_serve.request_log import REQUEST_ID, Record
from byoc_serve.settings import Settings
from byoc_vision.inference.predictor import Predictor
from byoc_vision.logs import JsonLines

Serve = Callable[[Predictor, Settings], FlaskClient]
Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged since the last time that it was asked."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("byoc_serve")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def read() -> list[dict[str, object]]:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return [json.loads(line) for line in text.splitlines()]

    yield read
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def logged(serve: Serve, classifier: Predictor, lines: Lines) -> FlaskClient:
    """The client of a server that logs its requests."""
    client = serve(classifier, Settings(log_format="json"))
    lines()
    return client


def test_a_request_is_a_line(logged: FlaskClient, lines: Lines, png: bytes) -> None:
    response = logged.post("/invocations", data=png, content_type="image/png", headers={REQUEST_ID: "abc-1"})
    (line,) = lines()
    assert response.headers[REQUEST_ID] == line["id"] == "abc-1"
    assert (line["method"], line["path"], line["status"], line["level"]) == ("POST", "/invocations", 200, "info")
    assert (line["bytes_in"], line["bytes_out"]) == (len(png), len(response.data))
    assert line["batch_size"] == 1
    assert 0 <= line["queue_ms"] <= line["ms"]
    assert str(line["time"]).endswith("+00:00")
    assert "error" not in line


def test_what_went_wrong_is_in_it(logged: FlaskClient, lines: Lines) -> None:
    response = logged.post("/invocations", data=b"hello", content_type="image/png")
    (line,) = lines()
    assert (line["status"], line["bytes_in"]) == (400, 5)
    assert line["error"] == response.get_json()["error"]
    assert "queue_ms" not in line


def test_a_body_in_chunks_is_counted(logged: FlaskClient, lines: Lines, png: bytes) -> None:
    stream = io.BytesIO(png)
    logged.post("/invocations", input_stream=stream, environ_overrides={"wsgi.input_terminated": True})
    (line,) = lines()
    assert (line["status"], line["bytes_in"]) == (200, len(png))


def test_other_paths_are_lines_too(logged: FlaskClient, lines: Lines) -> None:
    logged.get('/no"where\u2028')
    (line,) = lines()
    assert (line["status"], line["method"]) == (404, "GET")
    assert str(line["path"]).startswith('/no"where')


def test_without_the_setting_there_are_no_lines(labels: FlaskClient, lines: Lines, png: bytes) -> None:
    lines()
    response = labels.post("/invocations", data=png, content_type="image/png")
    assert lines() == []
    assert len(response.headers[REQUEST_ID]) == 16


def test_the_platform_s_id_comes_first(labels: FlaskClient) -> None:
    headers = {"X-Amzn-SageMaker-Inference-Id": "theirs", REQUEST_ID: "ours"}
    assert labels.get("/ping", headers=headers).headers[REQUEST_ID] == "theirs"


def test_ids_that_are_made_differ(labels: FlaskClient) -> None:
    assert len({labels.get("/ping").headers[REQUEST_ID] for _ in range(50)}) == 50


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=200))
def test_only_a_sane_id_is_taken_over(labels: FlaskClient, given_id: str) -> None:
    response = labels.get("/ping", environ_overrides={"HTTP_X_REQUEST_ID": given_id})
    sane = 0 < len(given_id) <= 128 and all("!" <= character <= "~" for character in given_id)
    returned = response.headers[REQUEST_ID]
    assert (returned == given_id) == sane
    assert sane or len(returned) == 16


def test_an_unused_record_can_be_written() -> None:
    Record.of({}).error = "whatever"


class TestJsonLines:
    def format(self, message: str, *arguments: object, **more: object) -> dict[str, object]:
        record = logging.LogRecord("some.name", logging.WARNING, "", 0, message, arguments, more.pop("exc_info", None))
        vars(record).update(more)
        text = JsonLines().format(record)
        assert "\n" not in text
        return json.loads(text)

    @given(st.text(), st.text())
    def test_whatever_is_said_is_one_line(self, message: str, argument: str) -> None:
        line = self.format("%s and %s", message, argument)
        assert line["message"] == f"{message} and {argument}"
        assert (line["level"], line["logger"]) == ("warning", "some.name")

    def test_an_error_brings_its_traceback(self) -> None:
        try:
            raise KeyError("oops")
        except KeyError as error:
            line = self.format("it failed", exc_info=(type(error), error, error.__traceback__))
        assert str(line["traceback"]).endswith("KeyError: 'oops'")

    def test_fields_are_added(self) -> None:
        assert self.format("x", fields={"id": "1"})["id"] == "1"
