"""The stand-in for smdebug: what training scripts and notebooks use of the library."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.archives import pack
from torch import nn

import smdebug.pytorch as smd
import smdebug.trials
from byoc_vision.user_script.report import report_on_script
from smdebug.core.modes import ModeKeys
from smdebug.exceptions import StepUnavailable, TensorUnavailable
from smdebug.trials import create_trial

LOSS = "CrossEntropyLoss_output_0"
SOURCES = Path(smd.__file__).parents[2]


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[smd.Hook]:
    hook = smd.Hook(out_dir=tmp_path / "values")
    yield hook
    hook.remove_module_hooks()


def train(hook: smd.Hook, epochs: int, validation: list[float] | None = None) -> None:
    """Four training steps and two validation steps in each epoch, of a real network and a real loss."""
    torch.manual_seed(0)
    net, criterion = nn.Linear(3, 2), nn.CrossEntropyLoss()
    hook.register_hook(net)
    hook.register_loss(criterion)
    for _ in range(epochs):
        for mode, steps in ((smd.modes.TRAIN, 4), (smd.modes.EVAL, 2)):
            hook.set_mode(mode)
            for _ in range(steps):
                criterion(net(torch.randn(5, 3)), torch.randint(0, 2, (5,)))
    hook.close()


def test_losses_by_mode(hook: smd.Hook, tmp_path: Path) -> None:
    train(hook, epochs=2)
    trial = create_trial(str(tmp_path))
    assert (
        trial.tensor_names() == trial.tensor_names(regex=".*Loss") == trial.tensor_names(collection="losses") == [LOSS]
    )
    assert trial.modes() == [ModeKeys.TRAIN, ModeKeys.EVAL]
    tensor = trial.tensor(LOSS)
    assert tensor.steps(mode=ModeKeys.TRAIN) == list(range(8))
    assert tensor.steps(mode=ModeKeys.EVAL) == list(range(4))
    assert tensor.steps() == list(range(12))
    assert tensor.value(3, mode=ModeKeys.EVAL) == tensor.value(11)
    assert all(0 < value < 5 for value in tensor.values(ModeKeys.TRAIN).values())
    with pytest.raises(StepUnavailable, match="step 99"):
        tensor.value(99)
    with pytest.raises(TensorUnavailable, match=LOSS):
        trial.tensor("other")


def test_the_recorded_values_are_the_losses(hook: smd.Hook, tmp_path: Path) -> None:
    criterion = nn.MSELoss()
    hook.register_loss(criterion)
    losses = [criterion(torch.tensor([value]), torch.tensor([0.0])).item() for value in (1.0, 2.0, float("nan"))]
    hook.close()
    values = create_trial(tmp_path).tensor("MSELoss_output_0").values()
    np.testing.assert_array_equal(list(values.values()), losses)


def test_scalars(hook: smd.Hook, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook.set_mode(smd.modes.EVAL)
    hook.save_scalar("accuracy", 0.75, sm_metric=True)
    hook.close()
    trial = create_trial(tmp_path)
    assert trial.tensor_names(regex="^scalar") == ["scalar/accuracy"]
    assert trial.tensor("accuracy").value(0, mode=ModeKeys.EVAL) == 0.75
    assert capsys.readouterr().out == "accuracy=0.75\n"


def test_the_configuration_that_sagemaker_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "debughookconfig.json"
    parameters = {"train.save_interval": "3", "eval.save_steps": "1"}
    config.write_text(json.dumps({"LocalPath": str(tmp_path / "tensors"), "HookParameters": parameters}))
    monkeypatch.setenv("SMDEBUG_CONFIG_FILE_PATH", str(config))
    smd.del_hook()
    assert smd.get_hook() is None
    hook = smd.get_hook(create_if_not_exists=True)
    assert hook is not None
    assert smd.get_hook() is hook
    train(hook, epochs=2)
    tensor = create_trial(tmp_path / "tensors").tensor(LOSS)
    assert (tensor.steps(ModeKeys.TRAIN), tensor.steps(ModeKeys.EVAL)) == ([0, 3, 6], [1])


def test_steps_are_counted_once(hook: smd.Hook, tmp_path: Path) -> None:
    """Scripts register the model as a hook and as a module; a criterion may be called in the model's forward."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.criterion = nn.Linear(3, 2), nn.CrossEntropyLoss()

        def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return self.criterion(self.layer(images), labels)

    net = Net()
    hook.register_hook(net)
    hook.register_module(net)
    hook.register_loss(net.criterion)
    hook.register_loss(net.criterion)
    hook.set_mode(smd.modes.TRAIN)
    for _ in range(3):
        net(torch.randn(5, 3), torch.zeros(5, dtype=torch.long))
    hook.close()
    assert create_trial(tmp_path).tensor(LOSS).steps(mode=smd.modes.TRAIN) == [0, 1, 2]


def test_options_and_collections_of_the_library(tmp_path: Path) -> None:
    hook = smd.Hook(
        out_dir=tmp_path / "values",
        save_config=smd.SaveConfig({smd.modes.TRAIN: smd.SaveConfigMode(save_interval=2)}),
        include_collections=["losses", "gradients"],
        reduction_config=smd.ReductionConfig(reductions=["mean"]),
        save_all=True,
    )
    hook.get_collection("gradients").include("layer.*")
    hook.save_tensor("temperature", torch.tensor([0.5]))
    hook.save_tensor("weights", torch.ones(3))
    train(hook, epochs=1)
    trial = create_trial(tmp_path)
    assert trial.tensor(LOSS).steps(mode=smd.modes.TRAIN) == [0, 2]
    assert trial.tensor("temperature").value(0) == 0.5
    assert not trial.has_tensor("weights")
    losses = trial.collection("losses")
    assert trial.tensor_names(collection=losses) == sorted(losses.tensor_names) == [LOSS]
    assert trial.collections().keys() == {"losses", "scalars"}


def test_steps_of_all_modes_and_of_one(hook: smd.Hook, tmp_path: Path) -> None:
    train(hook, epochs=2)
    trial = create_trial(tmp_path)
    assert trial.loaded_all_steps
    assert (trial.mode(5), trial.mode_step(5)) == (smd.modes.EVAL, 1)
    assert trial.global_step(smd.modes.TRAIN, 4) == 6
    assert trial.tensor(LOSS).prev_steps(3, 2, mode=smd.modes.EVAL) == [3, 2]
    with pytest.raises(StepUnavailable):
        trial.mode(99)


def test_a_loss_that_is_a_function_is_recorded_by_hand(hook: smd.Hook) -> None:
    with pytest.raises(TypeError, match="record_tensor_value"):
        hook.register_loss(torch.nn.functional.cross_entropy)


def test_what_is_not_offered_names_the_stand_in(hook: smd.Hook, tmp_path: Path) -> None:
    train(hook, epochs=1)
    trial = create_trial(tmp_path)
    for owner in (smd, smdebug, smdebug.trials, hook, trial, trial.tensor(LOSS)):
        with pytest.raises(AttributeError, match="stand-in for smdebug, which is retired"):
            owner.start_profiling  # noqa: B018
        assert not hasattr(owner, "another")


def test_without_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_OUTPUT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SMDEBUG_CONFIG_FILE_PATH", str(tmp_path / "none.json"))
    train(smd.Hook.create_from_json_file(), epochs=1)
    assert create_trial(tmp_path).tensor(LOSS).steps(ModeKeys.TRAIN) == [0, 1, 2, 3]


def test_it_says_once_what_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "smdebug"):
        smd.Hook(out_dir=tmp_path)
    (record,) = caplog.records
    assert "SageMaker Debugger is retired" in record.getMessage()


def test_only_the_first_process_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    train(smd.Hook(out_dir=tmp_path / "values"), epochs=1)
    assert not (tmp_path / "values").exists()


def test_what_is_written_before_the_end_of_a_process(tmp_path: Path) -> None:
    """A script that never calls `close`, as most."""
    script = (
        "import torch, smdebug.pytorch as smd\n"
        f"hook = smd.Hook(out_dir={str(tmp_path / 'values')!r})\n"
        "criterion = torch.nn.MSELoss()\nhook.register_loss(criterion)\n"
        "criterion(torch.ones(1), torch.zeros(1))\n"
    )
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(SOURCES)}, check=True)
    assert create_trial(tmp_path).tensor("MSELoss_output_0").value(0) == 1


def test_an_archive(hook: smd.Hook, tmp_path: Path) -> None:
    train(hook, epochs=1)
    archive = pack(tmp_path / "values", tmp_path / "output.tar.gz", inside="smdebug")
    assert create_trial(archive).tensor_names() == [LOSS]


@pytest.mark.parametrize(("path", "error"), [("s3://bucket/job", ValueError), ("nothing", FileNotFoundError)])
def test_no_values(tmp_path: Path, path: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=path.partition(":")[0]):
        create_trial(path if ":" in path else tmp_path / path)


class TestReport:
    def write(self, folder: Path, training: list[float], validation: list[float]) -> None:
        hook = smd.Hook(out_dir=folder / "smdebug")
        for train_loss, validation_loss in zip(training, validation, strict=True):
            for mode, loss in ((smd.modes.TRAIN, train_loss), (smd.modes.EVAL, validation_loss)):
                hook.set_mode(mode)
                hook.record_tensor_value(LOSS, torch.tensor(loss))
        hook.close()

    def test_curves_and_no_finding(self, tmp_path: Path) -> None:
        self.write(tmp_path, [1.0, 0.5, 0.4], [1.1, 0.6, 0.5])
        path = report_on_script([tmp_path], tmp_path, "my job")
        assert path == tmp_path / "report.html"
        page = path.read_text()
        assert "my job" in page
        assert page.count(LOSS) >= 3
        assert "No health rule found a problem" in page

    def test_overtraining(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.write(tmp_path, [1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.04], [1.1, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2])
        path = report_on_script([tmp_path], tmp_path)
        assert path is not None
        assert "Overtraining" in path.read_text()
        assert f"Overtraining: {LOSS}: the validation loss was 0.6 in epoch 2" in caplog.text

    def test_nothing_recorded(self, tmp_path: Path) -> None:
        assert report_on_script([tmp_path, tmp_path / "none"], tmp_path) is None
