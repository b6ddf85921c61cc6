"""`byoc-vision describe`, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from support.recipes import EXAMPLES

from byoc_vision.cli import main
from byoc_vision.hyperparameters import parse
from byoc_vision.hyperparameters.table import hyperparameters_table

RECIPE = str(EXAMPLES / "camvid_unet")
WITHOUT_TORCH = """
import sys
from byoc_vision.cli import main
assert main(["describe", "metrics"]) == main(["describe", "ranges", "--recipe", sys.argv[1]]) == 0
assert not {"cv2", "timm", "torch"} & set(sys.modules)
"""


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["describe", *arguments]) == 0
    return capsys.readouterr().out


def parsed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(said(capsys, *arguments))


def test_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("metrics", "--task", "classification", "--top-k", "5", "--classes", "cat, big dog", "--form", "v3")
    names = {entry["name"] for entry in parsed(capsys, *asked)}
    assert {"validation:top_5_accuracy", "validation:f1_cat", "validation:f1_big_dog"} <= names
    assert "validation:dice" not in names


def test_ranges_in_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("ranges", "--recipe", RECIPE, "--metric", "miou", "--keep", "epochs,encoder", "--form")
    space = parsed(capsys, *asked, "json")
    assert space["objective"]["metric"] == "validation:miou"
    recipe = json.loads((EXAMPLES / "camvid_unet/hyperparameters.json").read_text())
    assert space["fixed"]["epochs"] == recipe["epochs"]
    names = [entry["name"] for entry in space["ranges"]]
    static = parsed(capsys, *asked, "boto3")["TrainingJobDefinition"]["StaticHyperParameters"]
    assert parse(static).model == "unet"
    table = said(capsys, *asked, "table").splitlines()
    assert [line.partition(" ")[0] for line in table[1:]] == names
    assert said(capsys, *asked, "v2").startswith("from sagemaker.tuner import")
    assert said(capsys, *asked, "v3").startswith("from sagemaker.core.parameter import")


def test_hyperparameters_in_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed(capsys, "hyperparameters")["$schema"].endswith("2020-12/schema")
    asked = ("hyperparameters", "--form", "create-algorithm", "--image", "image:1")
    assert parsed(capsys, *asked)["TrainingSpecification"]["TrainingImage"] == "image:1"
    table = said(capsys, "hyperparameters", "--form", "table")
    assert table == hyperparameters_table() + "\n"
    assert main(["hyperparameters"]) == 0
    assert capsys.readouterr().out == table


def test_instances(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("instances", "--model", "unet_small", "--image-size", "32,64", "--batch-size", "2")
    found = parsed(capsys, *asked, "--for", "serve", "--classes", "3", "--precision", "float32")
    assert (found["image_size"], list(found["memory_mib"])) == ([32, 64], ["float32"])
    assert all(entry["fits"] for entry in found["instances"])


UNET = ["instances", "--model", "unet"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ranges", "--recipe", "nowhere"], "nowhere is not a recipe"),
        (["hyperparameters", "--form", "create-algorithm"], "--image is missing"),
        (["instances", "--model", "unett", "--image-size", "64", "--batch-size", "2"], "model=unett is not known"),
        ([*UNET, "--image-size", "64", "--batch-size", "0"], "batch_size: must be greater"),
        ([*UNET, "--image-size", "60", "--batch-size", "2"], "sides must be multiples of 16"),
    ],
)
def test_what_cannot_be_described(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", *arguments]) == 2
    assert message in capsys.readouterr().out


def test_metrics_and_ranges_need_neither_torch_nor_opencv() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, RECIPE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
