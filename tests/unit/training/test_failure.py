from __future__ import annotations

from pathlib import Path

import pytest

from byoc_vision.errors import DataError, InputError, ResourceError, UserError
from byoc_vision.training.failure import FAILURE_CHARACTERS, report_failures


def run(path: Path, error: Exception | None) -> int:
    def work() -> None:
        if error:
            raise error

    return report_failures(path, work)


def test_success_leaves_no_file(tmp_path: Path) -> None:
    assert run(tmp_path / "failure", None) == 0
    assert not (tmp_path / "failure").exists()


@pytest.mark.parametrize(
    ("error", "status", "first_line"),
    [
        (InputError("epochs: must be whole"), 2, "Your input: epochs: must be whole"),
        (DataError("a.jpg is empty"), 3, "Your data: a.jpg is empty"),
        (ResourceError("the disk is full"), 4, "Resources: the disk is full"),
    ],
)
def test_what_the_user_can_mend_comes_first(tmp_path: Path, error: UserError, status: int, first_line: str) -> None:
    failure = tmp_path / "output" / "failure"
    assert run(failure, error) == status
    assert failure.read_text(encoding="utf-8") == first_line


def test_a_bug_has_its_cause_first_and_then_where_it_arose(tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    assert run(failure, ZeroDivisionError("division by zero")) == 1
    lines = failure.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Our bug: ZeroDivisionError: division by zero"
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    run(tmp_path / "failure", InputError("é" * 5_000))
    assert len((tmp_path / "failure").read_text(encoding="utf-8")) == FAILURE_CHARACTERS
    run(tmp_path / "bug", ValueError("é" * 5_000))
    assert len((tmp_path / "bug").read_text(encoding="utf-8")) <= FAILURE_CHARACTERS


def test_the_first_failure_stays(tmp_path: Path) -> None:
    run(tmp_path / "failure", InputError("the cause"))
    run(tmp_path / "failure", OSError("broken pipe"))
    assert (tmp_path / "failure").read_text(encoding="utf-8") == "Your input: the cause"


def test_a_failure_file_that_cannot_be_written_does_not_hide_the_failure(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("a file where the folder should be")
    assert run(tmp_path / "output" / "failure", InputError("the cause")) == 2
