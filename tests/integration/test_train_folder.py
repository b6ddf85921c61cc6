"""`byoc-vision train DATA`: what everybody tries first, and what the command line says about a mistake in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.jobs import QUICK

from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set

SMALL = [f"{name}={value}" for name, value in {**QUICK, "image_size": "32", "num_workers": "0"}.items()]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of class folders."""
    make_classification_set(tmp_path / "drawn", count_train=12, count_validation=2, size=32)
    return (tmp_path / "drawn/train").rename(tmp_path / "pets")


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_folder_of_images_trains_into_a_folder_beside_it(
    pets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pets.parent)
    before = everything(pets)
    assert main(["train", "pets", "--epochs", "1", "--batch-size=4", *SMALL]) == 0
    job = pets.with_name("pets-job")
    assert everything(pets) == before
    assert (job / "model/model.json").is_file()
    assert json.loads((job / "input/config/hyperparameters.json").read_text())["batch_size"] == "4"
    assert "\nvalidation,square/" in (job / "output/data/predictions.csv").read_text()
    for place in (job, job / "input", pets):  # all lead to the same data
        capsys.readouterr()
        assert main(["check", str(place)]) == 0
        assert " images (" in capsys.readouterr().out
    other = pets.rename(pets.with_name("others"))
    capsys.readouterr()
    assert main(["train", str(other), "--output", str(job), *SMALL]) == 2
    assert "is of a job on other data" in capsys.readouterr().out


def test_a_root_that_holds_images_names_the_command_and_stays_as_it_is(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(pets.parent)
    assert main(["train", "--root", str(pets)]) == 2
    log = capsys.readouterr().out
    assert str(pets / "input/data") in log
    assert f"byoc-vision train {pets}" in log
    assert "circle/" in log, "what is there"
    assert everything(pets.parent) == before


@pytest.mark.parametrize("inside", ["", "input/config", "input/data", "input/data/1.jpg", "../other"])
def test_a_root_without_channels_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inside: str
) -> None:
    place = tmp_path / "job" / inside
    if place.suffix:
        place.parent.mkdir(parents=True)
        place.write_bytes(b"an image")
    else:
        place.mkdir(parents=True)
    assert main(["train", "--root", str(tmp_path / "job")]) == 2
    log = capsys.readouterr().out
    assert "the channel 'train' is missing" in log
    assert str(tmp_path / "job/input/data") in log
    assert "byoc-vision train " in log


def test_nothing_is_written_before_data_are_found(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.txt").write_text("no images")
    before = everything(tmp_path)
    assert main(["train", str(tmp_path / "notes")]) in (2, 3)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["nowhere"], "nowhere does not exist; name the folder of the images: byoc-vision train DATA"),
        (["pets", "--output", "pets/job"], "is inside the data"),
        (["pets", "--output", "drawn"], "neither empty nor a job's folder"),
        (["pets", "eopchs=3"], "eopchs is not known; did you mean epochs?"),
        (["pets", "--learning-rat", "1"], "--learning-rat is not known; did you mean learning_rate?"),
        (["pets", "--outptu", "job"], "--outptu is not known; did you mean --output?"),
        (["pets", "--epochs"], "--epochs has no value; write epochs=VALUE"),
        (["pets", "epochs", "3"], "epochs has no value; write epochs=VALUE"),
        (["pets", "epochs=3", "--epochs", "4"], "epochs is given twice"),
        (["pets", "epochs=many"], "epochs: must be a whole number"),
        (["--output", "job"], "--output is for `byoc-vision train DATA`"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    pets: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    answer: str,
) -> None:
    monkeypatch.chdir(pets.parent)
    before = everything(pets.parent)
    assert main(["train", *arguments]) == 2
    assert answer in capsys.readouterr().out
    assert everything(pets.parent) == before


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["trian", "pets"], "trian is not a command; did you mean train?"),
        (["check", "pets", "--tsak", "auto"], "--tsak is not an option; did you mean --task?"),
        (["predict", "--modle", "m", "image.jpg"], "--modle is not an option; did you mean --model?"),
        (["describe", "metrisc"], "metrisc is not a command; did you mean metrics?"),
    ],
)
def test_a_mistyped_command_or_option_names_its_neighbour(
    capsys: pytest.CaptureFixture[str], arguments: list[str], answer: str
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert answer in capsys.readouterr().err


def test_the_data_are_found_once(
    pets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a network disk, to list a large data set takes minutes."""
    listed: list[str] = []
    scandir = os.scandir

    def counting(folder: Any) -> Any:
        listed.append(str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counting)
    assert main(["train", str(pets), "epochs=1", "batch_size=4", "model=test_resnet", *SMALL]) == 0
    assert listed.count(str(pets / "circle")) == 1
    assert capsys.readouterr().out.count("classification: class folders; ") == 1
