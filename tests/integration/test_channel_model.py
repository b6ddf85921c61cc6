"""The channel `model`: training continues from an earlier model of this image."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.archives import pack_model
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.paths import MlPaths

SMALL = {
    **QUICK,
    "model": "test_resnet",
    "image_size": "32",
    "num_workers": "0",
    "batch_size": "8",
    "augmentation": "none",
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> MlPaths:
    """A job that has learnt its four shapes by heart."""
    paths = MlPaths(tmp_path_factory.mktemp("earlier"))
    make_classification_set(paths.channels, count_train=24, count_validation=8, size=32)
    shutil.rmtree(paths.channel("validation"))
    shutil.copytree(paths.channel("train"), paths.channel("validation"))
    write_hyperparameters(paths, {**SMALL, "epochs": "20", "learning_rate": "0.004"})
    assert run_train(paths) == 0
    assert read_metrics(paths)["validation"]["loss"] < 0.7, "random weights have 1.4"
    return paths


@pytest.fixture
def paths(earlier: MlPaths, tmp_path: Path) -> MlPaths:
    """A new job on the same data, for one epoch at a learning rate that changes nothing to speak of."""
    paths = MlPaths(tmp_path / "ml")
    shutil.copytree(earlier.channels, paths.channels)
    paths.channel("model").mkdir()
    ask(paths)
    return paths


def ask(paths: MlPaths, **hyperparameters: str) -> None:
    write_hyperparameters(paths, {**SMALL, "epochs": "1", "learning_rate": "1e-6", **hyperparameters})


def refusal(paths: MlPaths, status: int) -> str:
    assert run_train(paths) == status
    assert not paths.model.exists()
    return paths.failure.read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["archive", "nested archive", "files", "another name"])
def test_the_same_classes_continue_with_the_whole_network(
    earlier: MlPaths, paths: MlPaths, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    if form == "files":
        shutil.copytree(earlier.model, paths.channel("model"), dirs_exist_ok=True)
    else:
        pack_model(earlier.model, paths.channel("model") / "model.tar.gz", "model/" if form == "nested archive" else "")
    if form == "another name":
        paths.channel("model").rename(paths.channel("weights"))
        declared = {name: {"ContentType": None} for name in ("train", "validation")}
        declared["weights"] = {"ContentType": "application/x-sagemaker-model"}  # type: ignore[dict-item]
        paths.input_data_config.write_text(json.dumps(declared))
    assert run_train(paths) == 0
    log = capsys.readouterr().out
    assert "the whole network, as the classes are the same" in log
    assert "not read" not in log
    before, after = read_metrics(earlier)["validation"], read_metrics(paths)["validation"]
    assert after["loss"] == pytest.approx(before["loss"], abs=0.1)


def test_other_classes_continue_with_all_but_the_head(
    earlier: MlPaths, paths: MlPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_model(earlier.model, paths.channel("model") / "model.tar.gz")
    for split in ("train", "validation"):
        (paths.channel(split) / "star").rename(paths.channel(split) / "asterisk")
    assert run_train(paths) == 0
    log = capsys.readouterr().out
    assert "all but the head" in log
    assert "asterisk" in log


def test_another_architecture_is_refused_with_both_named(earlier: MlPaths, paths: MlPaths) -> None:
    pack_model(earlier.model, paths.channel("model") / "model.tar.gz")
    ask(paths, model="test_vit")
    said = refusal(paths, 2)
    assert "model=test_resnet" in said
    assert "model=test_vit" in said


def torn(model: Path, channel: Path) -> None:
    archive = pack_model(model, channel / "model.tar.gz")
    archive.write_bytes(archive.read_bytes()[:5000])


def two(model: Path, channel: Path) -> None:
    for name in ("a.tar.gz", "b.tar.gz"):
        pack_model(model, channel / name)


def foreign(model: Path, channel: Path) -> None:
    with tarfile.open(channel / "model.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("saved_model.pb")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"1234"))


def other_files(model: Path, channel: Path) -> None:
    (channel / "model.pth").write_bytes(b"1234")


@pytest.mark.parametrize(
    ("fill", "status", "words"),
    [
        (torn, 3, ["channel model: model.tar.gz"]),
        (two, 2, ["2 models (a.tar.gz, b.tar.gz)", "leave one"]),
        (foreign, 3, ["channel model: model.tar.gz", "saved_model.pb"]),
        (other_files, 2, ["holds no model of this image", "model.pth"]),
    ],
)
def test_a_channel_without_one_whole_model_of_this_image(
    earlier: MlPaths, paths: MlPaths, fill: Callable[[Path, Path], None], status: int, words: list[str]
) -> None:
    fill(earlier.model, paths.channel("model"))
    said = refusal(paths, status)
    assert [word for word in words if word not in said] == []


def test_channels_that_are_not_read_are_named(
    earlier: MlPaths, paths: MlPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_model(earlier.model, paths.channel("model") / "model.tar.gz")
    for name in ("pretrained", "augmentation", "extra"):
        paths.channel(name).mkdir()
    assert run_train(paths) == 0
    log = capsys.readouterr().out
    for name in ("pretrained", "augmentation", "extra"):
        assert any(name in line and re.search("not (read|used)", line) for line in log.splitlines())


@pytest.mark.parametrize("asked", ["auto", "test_resnet"])
def test_with_model_auto_the_job_takes_the_architecture_of_the_model(
    paths: MlPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    other = MlPaths(tmp_path / "other")
    shutil.copytree(paths.channels, other.channels)
    shutil.rmtree(other.channel("model"))
    ask(other, model="mobilenetv3_small_050", pretrained="false")
    assert run_train(other) == 0
    pack_model(other.model, paths.channel("model") / "model.tar.gz")
    ask(paths, model=asked)
    capsys.readouterr()
    if asked == "auto":
        assert run_train(paths) == 0
        log = capsys.readouterr().out
        assert "model=auto: the architecture is that of the channel model: " in log
        assert "Training continues from model.tar.gz" in log
        assert json.loads((paths.model / "model.json").read_text())["model"]["architecture"] == "mobilenetv3_small_050"
    else:
        assert "a model with task=classification, model=mobilenetv3_small_050" in refusal(paths, 2)
