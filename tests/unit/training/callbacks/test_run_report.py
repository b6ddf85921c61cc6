"""What a job tells of itself, whatever becomes of it."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from byoc_vision.errors import InputError
from byoc_vision.report import page
from byoc_vision.report.record import Record, Run, read_record
from byoc_vision.training.callbacks.run_report import Journal
from byoc_vision.training.history import EpochRecord, History
from byoc_vision.training.resolve_config import Objective
from byoc_vision.types import ClassInfo


def journal(folder: Path, **options: object) -> Journal:
    first = Record(
        package_version="1",
        task="classification",
        classes=[ClassInfo(name="cat")],
        images={"train": 3},
        objective="validation:accuracy",
        run=Run(hyperparameters={}),
    )
    history = History(Objective("accuracy"))
    return Journal(folder, first, history, time.monotonic(), **{"page": False} | options)


def add_epoch(kept: Journal, accuracy: float) -> None:
    epoch = len(kept.history.records) + 1
    kept.history.add(EpochRecord(epoch, 0.1, 0.5, {"accuracy": accuracy}, seconds=1.0))


def test_each_epoch_is_there_once_it_is_over(tmp_path: Path) -> None:
    kept = journal(tmp_path, gpus=4)
    for accuracy in (0.5, 0.75, 0.25):
        add_epoch(kept, accuracy)
        kept.epoch_is_over()
        assert len(read_record(tmp_path).epochs) == len(kept.history.records)
    found = read_record(tmp_path)
    assert (found.state, found.best_epoch, found.validation) == ("running", 2, {"accuracy": 0.75})
    assert found.gpu_seconds == pytest.approx(4 * found.seconds, abs=0.3)  # each is rounded to a tenth


def test_the_first_end_is_the_one_that_is_told(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    kept.end("interrupted", "asked to stop")
    kept.end("finished")
    assert (read_record(tmp_path).state, read_record(tmp_path).reason) == ("interrupted", "asked to stop")


def test_a_failure_is_told_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too high"), journal(tmp_path).telling_failures():
        raise InputError("learning_rate: too high")
    assert (read_record(tmp_path).state, read_record(tmp_path).reason) == ("failed", "learning_rate: too high")


def test_a_disk_that_takes_nothing_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    journal(tmp_path / "file").end("finished")
    assert "could not be written" in caplog.text


def test_the_page_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first epoch, then when fifty times as long as it takes has passed, and at the end."""
    written: list[float] = []

    def write_slowly(folder: Path) -> Path:
        time.sleep(0.01)
        written.append(time.monotonic())
        return folder

    monkeypatch.setattr(page, "write_report", write_slowly)
    kept = journal(tmp_path, page=True)
    add_epoch(kept, 0.5)
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        kept.epoch_is_over()
    assert all(later - earlier > 0.4 for earlier, later in itertools.pairwise(written))
    assert 1 < len(written) < 4
    kept.end("finished")
    assert time.monotonic() - written[-1] < 0.3
