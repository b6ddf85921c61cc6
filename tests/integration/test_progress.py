"""Every command whose work takes long says how far it is, if each look at the clock is a minute after the last."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from support.jobs import QUICK

from byoc_vision import progress
from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.describe.metrics import metric_definitions, metrics_in

SMALL = [f"{name}={value}" for name, value in {**QUICK, "image_size": "32", "num_workers": "0"}.items()]
TRAINING = (
    r"progress: training epoch=1/2 done=[\d.]+% images/s=[\d.e-]+ loss_so_far=[\d.]+ rate=[\d.e-]+ .*"
    r"epoch_left=\d+:\d\d:\d\d job_left=\d+:\d\d:\d\d"
)


@pytest.fixture(autouse=True)
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = itertools.count(step=60.0)
    monkeypatch.setattr(progress.default_schedule(), "clock", lambda: next(minutes))


def test_train_check_and_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_classification_set(tmp_path, count_train=60, count_validation=4, size=32)
    data = tmp_path / "train"
    job = ["epochs=2", "batch_size=2", "pretrained=false", "model=mobilenetv3_small_050", *SMALL]
    assert main(["train", str(data), "--output", str(tmp_path / "job"), *job]) == 0
    log = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(TRAINING, line) for line in log), log
    assert sum(line.startswith("The job ends in ") for line in log) == 1
    assert any(line.startswith("progress: checking done=") for line in log)
    assert any(line.startswith("progress: evaluating done=") for line in log)
    epochs = [line for line in log if metrics_in(line, metric_definitions())]
    assert [line.split()[0] for line in epochs if line.startswith("epoch=")] == ["epoch=1", "epoch=2"]
    assert not any(line.startswith("progress:") for line in epochs)
    assert main(["check", str(data)]) == 0
    assert "\nprogress: checking done=" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "job/model"), str(data)]) == 0
    assert "\nprogress: evaluating done=" in capsys.readouterr().out
