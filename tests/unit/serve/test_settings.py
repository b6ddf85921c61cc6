"""What the environment says, and how mistakes in it are reported."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from byoc_serve.settings import Settings, variables_table
from byoc_vision.errors import InputError


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.port, settings.model) == (8080, Path("/opt/ml/model"))
    assert settings.max_body >= 25 * 2**20
    assert settings.threads > settings.queue_length
    assert settings.execution_parameters() == {
        "MaxConcurrentTransforms": 4,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 25,
    }


@pytest.mark.parametrize(
    ("variables", "lines"),
    [({}, 102_400), ({"MAX_PAYLOAD_MB": "6"}, 6144), ({"MAX_PAYLOAD_MB": "1", "QUEUE_LENGTH": "2000"}, 2000)],
)
def test_as_many_json_lines_are_allowed_as_a_body_can_hold_with_images(variables: dict[str, str], lines: int) -> None:
    assert Settings.from_environment(variables).max_lines == lines


def test_the_platform_s_variables_are_read() -> None:
    settings = Settings.from_environment(
        {
            "SAGEMAKER_BIND_TO_PORT": "9000",
            "SAGEMAKER_BATCH": "True",
            "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6",
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "10",
            "LOG_LEVEL": "WARNING",
            "ML_ROOT": "/somewhere",
        }
    )
    assert settings.port == 9000
    assert settings.batch_transform
    assert settings.max_body == 6 * 2**20
    assert settings.logging_level == logging.WARNING
    assert settings.model == Path("/somewhere/model")
    assert settings.execution_parameters() == {
        "MaxConcurrentTransforms": 10,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 6,
    }


def test_the_transform_s_payload_limits_only_transforms() -> None:
    assert Settings.from_environment({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "6"}).max_body == 100 * 2**20


def test_a_script_that_need_not_exist_is_tolerated() -> None:
    assert Settings.from_environment({"SAGEMAKER_PROGRAM": "inference.py", "PORT": "ignored"}) == Settings()


def test_empty_variables_count_as_absent() -> None:
    assert Settings.from_environment({"BATCH_SIZE": "", "LOG_LEVEL": "  "}) == Settings()


def test_arguments_win_over_variables() -> None:
    settings = Settings.from_environment(
        {"SAGEMAKER_BIND_TO_PORT": "9000", "ML_ROOT": "/somewhere"}, root=Path("/elsewhere"), port=7000
    )
    assert (settings.port, settings.root) == (7000, Path("/elsewhere"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_BIND_TO_PORT", "70000"),
        ("MAX_PAYLOAD_MB", "0"),
        ("BATCH_SIZE", "8.5"),
        ("SAGEMAKER_BATCH", "perhaps"),
        ("SAGEMAKER_BATCH_STRATEGY", "ANY"),
        ("LOG_LEVEL", "loud"),
        ("PRECISION", "float64"),
    ],
)
def test_a_mistake_names_the_variable_and_its_value(name: str, text: str) -> None:
    with pytest.raises(InputError, match=f"{name}={text}"):
        Settings.from_environment({name: text})


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(InputError, match=r"(?s)MAX_PAYLOAD_MB=x.*QUEUE_LENGTH=-1"):
        Settings.from_environment({"MAX_PAYLOAD_MB": "x", "QUEUE_LENGTH": "-1"})


def test_the_table_has_a_row_for_every_field() -> None:
    header, line, *rows = variables_table().splitlines()
    assert (header, line) == ("| variable | default | meaning |", "|---|---|---|")
    assert "| `SAGEMAKER_BIND_TO_PORT` | 8080 | The port to listen on. |" in rows
    assert len(rows) == len(Settings.model_fields)
    assert all(row.endswith(". |") for row in rows)
