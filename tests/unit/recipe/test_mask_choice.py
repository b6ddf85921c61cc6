"""The threshold and the least area of masks, found where they are known to be best."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters
from torch import Tensor, nn

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.data.loaders import EvaluationBatch
from byoc_vision.data.sample_data import make_segmentation_set
from byoc_vision.evaluation.evaluator import Evaluator, evaluate_folder
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.paths import MlPaths
from byoc_vision.precision import choose_precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.recipe.mask_choice import choose_least_area, choose_threshold
from byoc_vision.types import ClassInfo, ModelSpec

SIDE = 16
CPU = torch.device("cpu")


class Red(nn.Module):
    """The logit of a pixel: its red, from -5 to 5."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1]


def evaluator() -> Evaluator:
    config = ModelConfig(
        model=ModelSpec(task="segmentation", architecture="test", outputs=1),
        classes=(ClassInfo("none", 0), ClassInfo("thing", 1)),
        activation="sigmoid",
        preprocess=Preprocess(height=SIDE, width=SIDE, mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1)),
    )
    return Evaluator(
        Predictor(config, TorchEngine(Red(), config, CPU, choose_precision("float32", CPU))), config.classes, 4
    )


def batch(red: np.ndarray, target: np.ndarray) -> EvaluationBatch:
    images = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    images[0, 0] = torch.from_numpy(red)
    return EvaluationBatch(images, [SIDE], [SIDE], [target.astype(np.uint8)], [0], [])


def going_on() -> bool:
    return False


@pytest.mark.parametrize("name", ["dice", "miou", "loss"])
@pytest.mark.parametrize(("most", "threshold"), [(105, 0.3), (127, 0.5), (149, 0.7)])
def test_the_threshold_of_the_best_metric(name: str, most: int, threshold: float) -> None:
    """Red of 106 is a probability of 0.3."""
    red = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    objective = Objective(name, "min" if name == "loss" else "max")  # type: ignore[arg-type]
    assert choose_threshold(evaluator(), [batch(red, red > most)], objective, going_on) == threshold


def test_if_all_thresholds_are_equally_good_it_stays_one_half() -> None:
    red = np.zeros((SIDE, SIDE), np.uint8)
    assert choose_threshold(evaluator(), [batch(red, red)], Objective("dice"), going_on) == 0.5


def test_the_least_area_that_leaves_out_what_is_wrong_and_nothing_else() -> None:
    target = np.zeros((SIDE, SIDE), np.uint8)
    target[2:8, 2:8] = 1
    noisy = target.copy()
    noisy[12, 12] = noisy[14, 3] = 1
    for predicted, least in ((noisy, 1e-2), (target, 0.0)):
        assert choose_least_area(evaluator(), [batch(255 * predicted, target)], Objective("dice"), going_on) == least


COMMON = {"model": "unet_small", "image_size": "32", "epochs": "2", "batch_size": "4", "num_workers": "0", **QUICK}


@pytest.fixture
def paths(tmp_path: Path) -> MlPaths:
    made = MlPaths(tmp_path)
    make_segmentation_set(made.channels, count_train=12, count_validation=4, size=48)
    return made


def train(paths: MlPaths, **asked: str) -> int:
    write_hyperparameters(paths, COMMON | {"pretrained": "false"} | asked)
    return run_train(paths)


def test_a_job_writes_what_it_chose_into_the_artifact(paths: MlPaths, capfd: pytest.CaptureFixture[str]) -> None:
    assert train(paths, mask_threshold="auto", min_area="auto", soup="2") == 0
    record, config = read_metrics(paths), artifact.read_config(paths.model)
    best = max(epoch["validation"]["dice"] for epoch in record["epochs"])
    assert record["validation"]["dice"] > best
    assert (config.threshold, config.min_area) != (0.5, 0.0)
    log = "".join(capfd.readouterr())
    assert f"masks: dice {record['validation']['dice']:.4f} with mask_threshold={config.threshold:g} " in log
    held_out = paths.root / "held_out"
    shutil.copytree(paths.channel("validation"), held_out / "images")
    shutil.copytree(paths.channel("validation_annotation"), held_out / "masks")
    assert evaluate_folder(paths.model, held_out)["dice"] == record["validation"]["dice"]


def test_given_values_are_those_of_the_whole_job(paths: MlPaths) -> None:
    assert train(paths, mask_threshold="0.3", min_area="0.01", epochs="1") == 0
    config = artifact.read_config(paths.model)
    assert (config.threshold, config.min_area) == (0.3, 0.01)
