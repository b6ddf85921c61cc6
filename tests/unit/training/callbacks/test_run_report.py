"""What a job writes about itself, whatever happens to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tracked import record_of

from byoc_vision.errors import ResourceError
from byoc_vision.report import page
from byoc_vision.report.record import read_record
from byoc_vision.training.callbacks.run_report import RunReport


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_epoch_is_written_when_it_ends(tmp_path: Path) -> None:
    report = RunReport(tmp_path, (), page=False)
    for epoch in (1, 2, 3):
        report.epoch_end(record_of(epoch))
        found = read_record(tmp_path)
        assert (found.state, len(found.epochs), found.best_epoch) == ("running", epoch, epoch)


def test_the_end_is_written(tmp_path: Path) -> None:
    report = RunReport(tmp_path, (), page=False)
    report.epoch_end(record_of(1))
    report.train_end(record_of(1, state="failed", reason="learning_rate: too high"))
    assert (read_record(tmp_path).state, read_record(tmp_path).reason) == ("failed", "learning_rate: too high")


def test_a_full_disk_costs_a_warning_while_the_job_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    RunReport(tmp_path / "file", ()).epoch_end(record_of(1))
    assert "could not be written" in caplog.text


def test_a_job_needs_its_metrics_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = RunReport(tmp_path / "file", (), page=False)
    with pytest.raises(ResourceError, match=r"file/metrics\.json could not be written .*[\d,]+ bytes are free"):
        report.train_end(record_of(1, state="finished"))


def test_the_error_of_a_job_that_failed_matters_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    RunReport(tmp_path / "file", (), page=False).train_end(record_of(1, state="failed", reason="diverged"))
    assert "could not be written" in caplog.text


def test_the_page_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first epoch, then when fifty times as long as it takes has passed, and at the end."""
    clock, written = Clock(), []

    def write_slowly(folder: Path) -> Path:
        clock.now += 2
        written.append(clock.now)
        return folder

    monkeypatch.setattr(page, "write_report", write_slowly)
    report = RunReport(tmp_path, (), clock=clock)
    for epoch in range(1, 31):
        clock.now += 10
        report.epoch_end(record_of(epoch))
    assert written == [12, 114, 216]
    report.train_end(record_of(30, state="finished"))
    assert len(written) == 4
