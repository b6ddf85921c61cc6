from __future__ import annotations

import pytest

from byoc_vision.errors import InputError
from byoc_vision.script_mode import check_toolkit, requested_program


@pytest.mark.parametrize(
    ("hyperparameters", "environment", "program"),
    [
        ({}, {}, None),
        ({"epochs": "3"}, {"SAGEMAKER_PROGRAM": ""}, None),
        ({"sagemaker_program": '"mine.py"'}, {}, "mine.py"),
        ({"sagemaker_program": "mine.py"}, {}, "mine.py"),
        ({}, {"SAGEMAKER_PROGRAM": "theirs.py"}, "theirs.py"),
        ({"sagemaker_program": "mine.py"}, {"SAGEMAKER_PROGRAM": "theirs.py"}, "mine.py"),
    ],
)
def test_who_names_a_program(hyperparameters: dict[str, str], environment: dict[str, str], program: str | None) -> None:
    assert requested_program(hyperparameters, environment) == program


def test_without_the_toolkit_it_is_said_where_it_is() -> None:
    with pytest.raises(InputError, match=r"mine\.py.*run it in the image"):
        check_toolkit("mine.py")
