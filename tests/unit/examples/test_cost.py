"""What the launch scripts say about cost and duration before they ask."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples/on_sagemaker"
ROLE = "--role=arn:aws:iam::123456789012:role/sagemaker"


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "car.jpg").write_bytes(b"an image")
    return import_module("cost")


def read(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["boto3_only.py", *words, ROLE, "--channel=train=train"])
    return import_module("options").read_options("")


def test_what_costs_is_named_and_agreed_to(
    cost: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = read(monkeypatch, "tune", "deploy", "--picture=car.jpg", "--jobs=7")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(SystemExit, match="Nothing was started; --yes"):
        cost.agree(options)
    said = capsys.readouterr().out
    assert "tune: 7 jobs, each 1 × ml.g5.xlarge, spot, 60 minutes at the most" in said
    assert "deploy: 1 × ml.g4dn.xlarge, for some minutes" in said
    assert "Expected: not known; --images-per-second" in said
    assert "At most: 1 h 0 min for each job; --price-per-hour=USD shows the cost" in said
    assert "https://aws.amazon.com/sagemaker/" in said
    cost.agree(read(monkeypatch, "tune", "--yes"))


def test_the_price_and_the_speed_make_an_estimate(
    cost: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,000 images × 36 epochs at 20 images/s are half an hour."""
    words = ("--yes", "--price-per-hour=1.5", "epochs=36")
    cost.agree(read(monkeypatch, "train", "--images-per-second=20", *words), images=1000)
    said = capsys.readouterr().out
    basis = "(1000 images × 36 epochs at 20 images/s, from --images-per-second)"
    assert f"Expected: 30 min {basis}, 0.75 USD, less on spot instances\n" in said
    assert "At most: 1 h 0 min, 1.50 USD, less on spot instances\n" in said
    cost.agree(read(monkeypatch, "tune", "--jobs=4", "--no-spot", *words), images=1000, speed=20)
    said = capsys.readouterr().out
    assert (
        "Expected: 30 min for each job (1000 images × 36 epochs at 20 images/s, from an earlier job), 3.00 USD\n"
        in said
    )


def test_a_job_that_would_not_finish_is_named(
    cost: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cost.agree(read(monkeypatch, "train", "--yes", "epochs=90"), images=1000, speed=20)
    assert "longer than --longest-job=3600: the job would end before its last epoch" in capsys.readouterr().out
