"""What the scripts of examples/on_sagemaker refuse before they start anything, and what they say."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples/on_sagemaker"
ROLE = "--role=arn:aws:iam::123456789012:role/sagemaker"


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module; a folder train and a file car.jpg are where the script is started."""
    monkeypatch.syspath_prepend(EXAMPLES)
    for name in ("SAGEMAKER_ROLE", "IMAGE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "car.jpg").write_bytes(b"a picture")
    return import_module("options")


def given(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["sdk.py", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "name the steps"),
        ("trian --channel train=train", "no such step: trian; there are train, tune, deploy"),
        ("deploy train --channel train=train --picture car.jpg", "name the steps"),
        ("train tune --channel train=train", "name the steps"),
        ("train delete --channel train=train", "name the steps"),
        ("train", "--channel: there is nothing to train on"),
        ("train --channel train", "'train' is not NAME=FOLDER"),
        ("train --channel train=cars", "no such folder: "),
        ("deploy --picture car.jpg", "--model: there is nothing to serve"),
        ("train deploy --channel train=train", "--picture: none is not a file"),
        ("train deploy --channel train=train --picture bike.jpg", "--picture: bike.jpg is not a file"),
        ("tune --local --channel train=train", "--local: local mode knows no tune"),
        ("train --local --keep --channel train=train", "--keep: a local endpoint ends with the script"),
        ("train --channel train=train", "--role: give the ARN"),
        (f"train --channel train=train {ROLE} --name a-name-far-too-long", "--name: 'a-name-far-too-long' has to be"),
        ("train --channel train=train --role byoc", "`aws iam get-role --role-name byoc --query Role.Arn"),
        (f"train --channel train=train {ROLE} --bucket s3://mine/cars", "'s3://mine/cars' is not a bucket's name"),
        (f"tune --channel train=train {ROLE} --jobs 0", "--jobs=0"),
        (f"tune --channel train=train {ROLE} --warm-start earlier_search", "'earlier_search' is not the name of a tun"),
        (f"tune --channel train=train {ROLE} --patience 2", "--patience: SageMaker takes 3 jobs or more, not 2"),
        (f"tune --channel train=train {ROLE} --metric accuracy", "--metric validation:accuracy: a job logs train:loss"),
        (f"tune --channel train=train {ROLE} --metric train:loss", "train:loss"),
        (f"train --channel train=train {ROLE} epoch=3", "epochs"),
        (f"train --channel train=train {ROLE} --recipe nowhere", "nowhere is not a recipe"),
    ],
)
def test_what_does_not_fit_together(
    words: str, message: str, options: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, *words.split())
    with pytest.raises(SystemExit) as ended:
        options.read_options("")
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_hyperparameters_beside_those_of_the_recipe(options: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = EXAMPLES.parent / "clothing"
    given(monkeypatch, "train", "--local", "--channel=train=train", f"--recipe={recipe}", "epochs=20")
    read = options.read_options("")
    assert read.recipe.task == "classification"
    assert read.hyperparameters["epochs"] == "20"
    assert read.hyperparameters["model"] == "mobilenetv2_100"
    assert read.training_instance == "local"


@pytest.mark.parametrize(
    ("instance", "ami"), [("ml.g5.xlarge", True), ("ml.p4d.24xlarge", True), ("ml.c7i.large", False)]
)
def test_only_a_gpu_has_a_driver(
    instance: str, ami: bool, options: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, "train", ROLE, "--channel=train=train", f"--serving-instance={instance}")
    assert bool(options.read_options("").inference_ami_version) is ami


def test_the_image_comes_from_the_environment(options: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """IMAGE would be read by make as well, as the name of what it builds."""
    monkeypatch.setenv("IMAGE_URI", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/byoc-vision:1")
    monkeypatch.setenv("IMAGE", "another")
    given(monkeypatch, "train", ROLE, "--channel=train=train")
    assert options.read_options("").image == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/byoc-vision:1"


def test_the_first_metric_is_the_objective_of_a_search(options: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--metric=miou", "--metric=validation:iou_cat", "--metric=test:dice", "--class-name=cat"]
    given(monkeypatch, "tune", ROLE, "--channel=train=train", *words)
    read = options.read_options("")
    assert read.search_space.objective.metric == read.objective == "validation:miou"
    assert read.shown_metrics == ("validation:iou_cat", "test:dice")
    assert "validation:iou_cat" in [metric.name for metric in read.metrics]
    given(monkeypatch, "tune", ROLE, "--channel=train=train", "objective=loss")
    assert options.read_options("").objective == "validation:loss"


def test_a_tuning_jobs_name_is_short_enough(options: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, "tune", ROLE, "--channel=train=train", "--name=a23456789012345")
    assert len(options.read_options("").called("tune")) <= 32
