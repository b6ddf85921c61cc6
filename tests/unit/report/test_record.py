"""What a job leaves about itself, written and read again."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from byoc_vision.errors import DataError
from byoc_vision.report.record import RECORD_FILE, Epoch, Record, Run, read_record, write_record
from byoc_vision.types import ClassInfo


def record(**changes: object) -> Record:
    plain = Record(
        package_version="1",
        task="classification",
        classes=[ClassInfo(name="<b>cat</b>"), ClassInfo(name="dög")],
        images={"train": 3},
        objective="validation:accuracy",
        run=Run(hyperparameters={"image_size": [32, 32]}),
    )
    return plain.model_copy(update=changes)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    epoch = Epoch(epoch=1, learning_rate=0.1, train_loss=0.5, validation={"accuracy": 0.25}, seconds=1.5)
    written = record(epochs=[epoch], best_epoch=1)
    write_record(tmp_path / "new", written)
    assert read_record(tmp_path / "new") == written
    assert [path.name for path in (tmp_path / "new").iterdir()] == [RECORD_FILE]


def test_no_number_is_null(tmp_path: Path) -> None:
    """JSON has no NaN, and what reads it would refuse the whole file."""
    write_record(tmp_path, record(validation={"loss": math.nan}))
    assert "NaN" not in (tmp_path / RECORD_FILE).read_text()
    assert read_record(tmp_path).validation == {"loss": None}


@pytest.mark.parametrize("content", [None, "{", '{"task": "cooking"}'])
def test_what_is_not_a_record_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / RECORD_FILE).write_text(content)
    with pytest.raises(DataError, match=RECORD_FILE):
        read_record(tmp_path)
