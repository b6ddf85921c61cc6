from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.errors import DataError, InputError, ResourceError, UserError
from byoc_vision.launch.error_files import (
    FAILURE_BYTES,
    cut,
    cut_front,
    forget_failure,
    read_failures,
    report_failure,
)
from byoc_vision.launch.signals import StopRequestedError


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
    assert report_failure(failure, error) == status
    assert failure.read_text(encoding="utf-8") == first_line


def test_an_internal_error_has_its_cause_first_and_then_where_it_arose(tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    assert report_failure(failure, ZeroDivisionError("division by zero")) == 1
    lines = failure.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Internal error: ZeroDivisionError: division by zero"
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    report_failure(tmp_path / "failure", InputError("é" * 5_000))
    report_failure(tmp_path / "internal", ValueError("é" * 5_000))
    for name in ("failure", "internal"):
        content = (tmp_path / name).read_bytes()
        assert FAILURE_BYTES - 4 <= len(content) <= FAILURE_BYTES
        assert "é" in content.decode()


@given(st.text(), st.integers(0, 40))
def test_cutting_breaks_no_character(text: str, size: int) -> None:
    for part, whole in ((cut(text, size), str.startswith), (cut_front(text, size), str.endswith)):
        assert len(part.encode()) <= size
        assert whole(text, part)


def test_an_error_behind_the_cause_is_shown_below_it(tmp_path: Path) -> None:
    error = ResourceError("the disk is full")
    error.__cause__ = OSError(28, "No space left on device")
    assert report_failure(tmp_path / "failure", error) == 4
    lines = (tmp_path / "failure").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Resources: the disk is full"
    assert lines[-1] == "OSError: [Errno 28] No space left on device"


def test_a_stop_before_training_is_not_a_failure(tmp_path: Path) -> None:
    assert report_failure(tmp_path / "failure", StopRequestedError()) == 143
    assert not (tmp_path / "failure").exists()


def test_a_process_among_several_reports_to_the_one_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYOC_FAILURES_FOLDER", str(tmp_path))
    monkeypatch.setenv("BYOC_HOST", "algo-2")
    for rank, error in (
        ("1", RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:3000")),
        ("3", DataError("a.jpg is empty")),
        ("2", ZeroDivisionError("division by zero")),
    ):
        monkeypatch.setenv("RANK", rank)
        report_failure(tmp_path / "failure", error)
    assert not (tmp_path / "failure").exists()
    failures = read_failures(tmp_path)
    assert [(failure.rank, failure.exit_code) for failure in failures] == [(3, 3), (2, 1), (1, 1)]
    assert failures[0].message == "Your data [rank 3 on algo-2]: a.jpg is empty"
    assert failures[1].message.startswith("Internal error [rank 2 on algo-2]: ZeroDivisionError: division by zero")


def test_a_new_job_forgets_an_earlier_one_s_failure(tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    report_failure(failure, InputError("epochs: must be whole"))
    forget_failure(failure)
    report_failure(failure, DataError("a.jpg is empty"))
    assert failure.read_text(encoding="utf-8") == "Your data: a.jpg is empty"


def test_a_process_among_several_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report_failure(tmp_path / "failure", InputError("epochs: must be whole"))
    monkeypatch.setenv("BYOC_FAILURES_FOLDER", str(tmp_path))
    forget_failure(tmp_path / "failure")
    assert (tmp_path / "failure").exists()


def test_the_first_failure_stays(tmp_path: Path) -> None:
    report_failure(tmp_path / "failure", InputError("the cause"))
    report_failure(tmp_path / "failure", OSError("broken pipe"))
    assert (tmp_path / "failure").read_text(encoding="utf-8") == "Your input: the cause"


def test_a_failure_file_that_cannot_be_written_does_not_hide_the_failure(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("a file where the folder should be")
    assert report_failure(tmp_path / "output" / "failure", InputError("the cause")) == 2
