"""Head first, then the encoder: what moves in which epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.trainers import train

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight import check
from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.job import Job
from byoc_vision.launch.distributed import World
from byoc_vision.paths import MlPaths
from byoc_vision.training.build import assemble
from byoc_vision.training.data_partition import DataPartition
from byoc_vision.training.trainer import Trainer

COMMON = {"image_size": "32", "batch_size": "4", "num_workers": "0", "epochs": "4", "freeze_epochs": "1"}


def trainer_of(root: Path, task: str, **hyperparameters: str) -> Trainer:
    paths = MlPaths(root)
    if task == "segmentation":
        make_segmentation_set(paths.channels, count_train=8, count_validation=4, size=48)
    else:
        make_classification_set(paths.channels, count_train=8, count_validation=4, size=32)
    job = Job.load(paths)
    dataset = check(find_dataset(job.folders, DataOptions()), DataOptions()).dataset
    return assemble(job, parse(COMMON | hyperparameters), DataPartition.shared(dataset, World(), seed=0), World())


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.net.state_dict().items()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


@pytest.mark.parametrize(
    ("task", "model", "head"),
    [
        ("classification", {"model": "resnet10t", "hidden_units": "8"}, ("head.",)),
        ("classification", {"model": "mobilenetv2_035"}, ("classifier.",)),
        ("segmentation", {"model": "unet", "encoder": "resnet18"}, ("decoder.", "segmentation_head.")),
    ],
)
def test_the_head_learns_first_and_then_all_of_it(
    tmp_path: Path, task: str, model: dict[str, str], head: tuple[str, ...]
) -> None:
    trainer = trainer_of(tmp_path, task, **model)
    start = state(trainer)
    train(trainer, 1)
    after_one = state(trainer)
    assert moved(start, after_one)
    assert all(name.startswith(head) for name in moved(start, after_one)), "neither weights nor statistics move"
    train(trainer, 2)
    in_encoder = {name for name in moved(after_one, state(trainer)) if not name.startswith(head)}
    assert any(name.endswith("running_mean") for name in in_encoder)
    assert any(name.endswith("weight") for name in in_encoder)


def test_the_encoder_learns_at_its_share_of_the_learning_rate(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "classification", model="resnet10t", freeze_epochs="0", encoder_lr_factor="0.1")
    rates = [group["lr"] for group in trainer.step.optimizer.param_groups]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    assert trainer.learning_rate == pytest.approx(1e-3)


def test_the_classic_u_net_has_no_encoder_to_freeze(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"freeze_epochs.*encoder=mobilenet_v2"):
        trainer_of(tmp_path, "segmentation", model="unet_small")
