"""A job with pretrained weights: what the recipe chooses, the floor, the averaged weights, in all that tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.jobs import QUICK, read_metrics, write_hyperparameters

from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_segmentation_set
from byoc_vision.models.build import build_model
from byoc_vision.paths import MlPaths
from byoc_vision.recipe.linear_probe import START_SCALE
from byoc_vision.training.checkpoint_file import CheckpointStore
from byoc_vision.types import ModelSpec

SMALL = {"model": "test_resnet", "image_size": "32", "batch_size": "8", "epochs": "2", **QUICK, "num_workers": "0"}


def lay_out(root: Path, **changes: str) -> MlPaths:
    """Dark and bright images, and a `pretrained` channel with random weights: their features tell these apart, too."""
    paths = MlPaths(root)
    random = np.random.default_rng(0)
    for split, count in (("train", 20), ("validation", 8)):
        for name, brightness in (("dark", 60), ("bright", 180)):
            folder = paths.channel(split) / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.normal(brightness, 30, (40, 40, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    torch.manual_seed(0)
    network = build_model(ModelSpec(task="classification", architecture="test_resnet", outputs=1000))
    folder = paths.channel("pretrained")
    folder.mkdir()
    info = {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"}
    save_file(network.state_dict(), folder / "test_resnet.safetensors", metadata=info)
    write_hyperparameters(paths, SMALL | changes)
    return paths


def train(paths: MlPaths) -> dict[str, Any]:
    assert main(["train", "--root", str(paths.root)]) == 0
    return read_metrics(paths)


def test_log_record_and_report_tell_of_the_floor_and_of_each_choice(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = lay_out(tmp_path, report="true")
    record = train(paths)
    log = capfd.readouterr()
    said = log.out + log.err
    floor = record["floor"]["validation"]["accuracy"]
    assert floor > 0.5, "more than by chance"
    assert f"floor: accuracy {floor:.4f} after" in said
    choices = {choice["name"]: choice for choice in record["run"]["choices"]}
    assert {"linear_probe", "learning_rate", "freeze_batch_norm"} <= set(choices)
    assert not set(choices) & {"epochs", "batch_size", "image_size"}, "the job sets them"
    assert record["run"]["hyperparameters"]["learning_rate"] == choices["learning_rate"]["value"]
    page = (paths.output_data / "report.html").read_text()
    for choice in choices.values():
        assert f"recipe: {choice['name']}=" in said
        assert choice["reason"] in page
    assert "recipe: linear_probe=true, since" in said, "as one would set it"
    assert "of the floor" in page


def test_the_model_is_not_worse_than_the_floor(tmp_path: Path) -> None:
    """A learning rate that ruins the network: the floor's model is what is left."""
    ruin = {"learning_rate": "1", "optimizer": "sgd", "warmup_epochs": "0", "epochs": "1", "freeze_batch_norm": "false"}
    record = train(lay_out(tmp_path, health_action="none", **ruin))
    best = max(epoch["validation"]["accuracy"] for epoch in record["epochs"])
    assert best < record["floor"]["validation"]["accuracy"]
    assert record["best_epoch"] == 0
    assert record["validation"] == record["floor"]["validation"]
    assert artifact.read_config(tmp_path / "model").metrics["validation:accuracy"] == 1.0


def test_training_begins_with_smaller_logits_and_the_floor_is_kept_as_it_is(tmp_path: Path) -> None:
    """With a learning rate that changes nothing, the last weights are those of the beginning."""
    paths = lay_out(tmp_path, learning_rate="1e-30", optimizer="sgd", weight_decay="0", epochs="1")
    assert train(paths)["best_epoch"] == 0
    content = CheckpointStore(paths.checkpoints, 1).newest()
    assert content is not None
    kept = artifact.read_weights(paths.model)
    for name, share in (("fc.weight", START_SCALE), ("fc.bias", START_SCALE), ("conv1.0.weight", 1)):
        assert torch.equal(content["best"]["model"][name], kept[name])
        torch.testing.assert_close(content["model"][name], share * kept[name])


def test_a_resumed_job_keeps_its_floor_and_does_not_measure_it_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = lay_out(tmp_path, epochs="1")
    first = train(paths)
    capfd.readouterr()
    write_hyperparameters(paths, {**SMALL, "epochs": "3"})
    second = train(paths)
    assert "floor: " not in capfd.readouterr().err
    assert second["floor"] == first["floor"]
    assert len(second["epochs"]) == 3


def test_recipe_none_is_the_table_of_defaults(tmp_path: Path) -> None:
    record = train(lay_out(tmp_path, recipe="none"))
    assert (record["run"]["choices"], record["floor"]) == ([], None)
    assert record["run"]["hyperparameters"]["learning_rate"] == 1e-3


def test_the_average_of_the_weights_and_random_crops_are_there_on_request(tmp_path: Path) -> None:
    paths = MlPaths(tmp_path)
    make_segmentation_set(paths.channels, count_train=8, count_validation=2, size=64)
    asked = {"model": "unet_small", "image_size": "64", "crop_size": "32", "epochs": "2", "batch_size": "4"}
    ingredients = {"random_scale": "2", "class_crops": "0.5", "ema_decay": "0.9"}
    write_hyperparameters(paths, {**asked, **ingredients, **QUICK, "pretrained": "false"})
    record = train(paths)
    assert record["run"]["hyperparameters"]["random_scale"] == 2
    assert (record["floor"], record["run"]["choices"]) == (None, [])
    assert all(isinstance(epoch["averaged"], bool) for epoch in record["epochs"])


def lay_out_scenes(root: Path) -> MlPaths:
    """Masks of three classes, of which one has few pixels, and pretrained weights of the encoder."""
    paths, random = MlPaths(root), np.random.default_rng(0)
    for split, count in (("train", 4), ("validation", 1)):
        for channel in (split, f"{split}_annotation"):
            paths.channel(channel).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((300, 400), np.uint8)
            mask[:, 200:], mask[10:30, 10:30] = 1, 2
            pixels = random.normal(60 + 60 * mask[..., None], 20, (300, 400, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(paths.channel(split) / f"{index}.png")
            Image.fromarray(mask).save(paths.channel(f"{split}_annotation") / f"{index}.png")
    torch.manual_seed(0)
    spec = ModelSpec(task="segmentation", architecture="unet", encoder="mobilenet_v2", outputs=3)
    paths.channel("pretrained").mkdir()
    weights = build_model(spec).get_submodule("encoder").state_dict()
    info = {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"}
    save_file(weights, paths.channel("pretrained") / "mobilenet_v2.safetensors", metadata=info)
    return paths


SCENES = {"model": "unet", "encoder": "mobilenet_v2", **QUICK, "num_workers": "0"}


def test_a_resumed_segmentation_makes_the_same_choices(tmp_path: Path) -> None:
    paths = lay_out_scenes(tmp_path)
    asked = SCENES | {"epochs": "1", "image_size": "96, 128", "crop_size": "64", "class_weights": "sqrt"}
    write_hyperparameters(paths, asked)
    first = train(paths)
    choices = {choice["name"]: choice["value"] for choice in first["run"]["choices"]}
    assert (choices["batch_size"], choices["encoder_lr_factor"]) == (4, 0.3)
    write_hyperparameters(paths, asked | {"epochs": "2"})
    second = train(paths)
    assert [epoch["epoch"] for epoch in second["epochs"]] == [1, 2]
    again = {choice["name"]: choice["value"] for choice in second["run"]["choices"]}
    assert again == choices | {"warmup_epochs": 0.2}, "a tenth of the steps, which are twice as many"


def test_a_job_with_time_enough_sees_its_images_at_their_own_size_and_resumes_with_it(tmp_path: Path) -> None:
    paths = lay_out_scenes(tmp_path)
    for epochs, reason in (("1", "budget=2000h leaves time"), ("2", "the job began with it")):
        write_hyperparameters(paths, SCENES | {"budget": "2000h", "epochs": epochs})
        record = train(paths)
        choice = next(choice for choice in record["run"]["choices"] if choice["name"] == "image_size")
        assert choice["value"] == [288, 384]
        assert reason in choice["reason"]
        assert len(record["epochs"]) == int(epochs)
    config = artifact.read_config(paths.model)
    assert (config.preprocess.height, config.preprocess.width) == (288, 384)
