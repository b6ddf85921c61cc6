"""The table of epochs that the launch scripts make of a job's log."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.describe.metrics import metric_definitions

EXAMPLES = Path(__file__).parents[3] / "examples/on_sagemaker"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def epoch(number: int, dice: float = 0.9) -> str:
    return (
        f"epoch={number} train:loss=0.1234 validation:loss=0.2000 validation:dice={dice:.4f} validation:miou=0.8000 "
        "validation:pixel_accuracy=0.9000 learning_rate=0.001 seconds=60.0 images_per_second=61.0 data_wait=1%"
    )


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Each look at the log is a list of lines; the lines of the table."""
    monkeypatch.syspath_prepend(EXAMPLES)
    module = import_module("training_log")

    def show(*looks: list[str], output: io.StringIO | None = None, hosts: int = 1, **options: Any) -> list[str]:
        output = output or io.StringIO()
        table = module.LiveTable(metric_definitions("segmentation"), epochs=4, output=output, **options)
        for look in looks:
            for host in range(1, hosts + 1):
                table.add(module.Line(f"algo-{host}", text) for text in look)
        return output.getvalue().rstrip("\n").split("\n")

    return show


def test_a_row_for_each_epoch_with_the_time_that_is_left(show: Callable[..., list[str]]) -> None:
    start, header, *rows, end = show(["byoc-vision 0.1.0", epoch(1)], [epoch(2, 0.95)], ["the model is written"])
    assert start == "byoc-vision 0.1.0"
    assert header.split() == [
        *("epoch", "train:loss", "validation:loss", "validation:dice", "validation:miou"),
        *("validation:pixel_accuracy", "rate", "seconds", "images/s", "left"),
    ]
    assert [row.split() for row in rows] == [
        ["1", "0.1234", "0.2", "0.9", "0.8", "0.9", "0.001", "60.0", "61.0", "00:03:00"],
        ["2", "0.1234", "0.2", "0.95", "0.8", "0.9", "0.001", "60.0", "61.0", "00:02:00"],
    ]
    assert end == "the model is written"
    assert len({len(line) for line in (header, *rows)}) == 1, "columns are aligned"


def test_the_metric_that_was_asked_for_stands_first(show: Callable[..., list[str]]) -> None:
    header, _ = show([epoch(1)], first=["validation:miou"])
    assert header.split()[3:5] == ["validation:miou", "validation:dice"]


def test_two_hosts_make_one_table(show: Callable[..., list[str]]) -> None:
    assert len(show([epoch(1), epoch(2)], hosts=2)) == 3


def test_lines_between_epochs_repeat_the_header(show: Callable[..., list[str]]) -> None:
    said = show([epoch(1), "the loss is not finite", epoch(2)])
    assert said[2] == "the loss is not finite"
    assert said[3] == said[0]


def test_in_a_terminal_the_newest_line_replaces_the_one_before(show: Callable[..., list[str]], tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    said = show([epoch(1), "40 % of epoch 2", "80 % of epoch 2", epoch(2)], output=Terminal(), file=log)
    kept = [line.rpartition("\r\x1b[K")[2] for line in said]
    assert [line.split()[0] for line in kept] == ["epoch", "1", "2"]
    assert "\r\x1b[K40 % of epoch 2\r\x1b[K80 % of epoch 2" in said[-1]
    assert log.read_text(encoding="utf-8").splitlines()[1] == "algo-1 40 % of epoch 2", "the file has everything"


def test_every_line_can_be_shown_in_a_terminal(show: Callable[..., list[str]]) -> None:
    assert "40 % of epoch 2" in show([epoch(1), "40 % of epoch 2"], output=Terminal(), every_line=True)
