from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.archives import pack, pack_model
from support.disks import files_of_at_most
from support.modes import folder_for_all, mode, umask, without_root

from byoc_vision import artifact
from byoc_vision.artifact import CONFIG_FILE, WEIGHTS_FILE, ModelConfig
from byoc_vision.checksums import CHECKSUMS_FILE
from byoc_vision.errors import DataError, ResourceError
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

CARD = ModelConfig(
    model=ModelSpec(task="segmentation", architecture="unet", outputs=1),
    classes=(ClassInfo(name="background", value=0), ClassInfo(name="car", value=255)),
    activation="sigmoid",
    preprocess=Preprocess(height=64, width=96),
    metrics={"validation:dice": 0.9},
)

SPEC, RULE = CARD.model.model_dump(), CARD.preprocess.model_dump()


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"conv.weight": torch.randn(4, 3, 3, 3, generator=generator), "bn.count": torch.tensor(7)}


@pytest.fixture
def folder(tmp_path: Path, state: dict[str, torch.Tensor]) -> Path:
    artifact.save(tmp_path / "model", CARD, state)
    return tmp_path / "model"


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_saved_is_loaded(folder: Path, state: dict[str, torch.Tensor]) -> None:
    config, weights = artifact.load(folder)
    assert config == CARD
    assert same(weights, state)


def test_their_modes_are_those_that_the_umask_gives(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    """`train` runs as root in the image, and `serve` perhaps as another user."""
    with umask(0o022):
        artifact.save(tmp_path / "model", CARD, state)
    assert {path.name: mode(path) for path in (tmp_path / "model").iterdir()} == {
        CHECKSUMS_FILE: 0o644,
        CONFIG_FILE: 0o644,
        WEIGHTS_FILE: 0o644,
    }


@pytest.mark.parametrize("too_large", ["weights", "config"])
def test_a_full_disk_is_named_and_the_model_that_is_there_stays(
    folder: Path, state: dict[str, torch.Tensor], too_large: str
) -> None:
    config, weights = CARD, {name: tensor + 1 for name, tensor in state.items()}
    if too_large == "weights":
        weights |= {"large": torch.zeros(10_000)}
    else:
        config = CARD.model_copy(update={"classes": tuple(ClassInfo(name=f"class {n}") for n in range(1000))})
    (folder / "openvino").mkdir()
    said = r"model\.safetensors could not be written .* needed, [\d,]+ bytes are free"
    with files_of_at_most(2**12), pytest.raises(ResourceError, match=said):
        artifact.save(folder, config, weights)
    kept, its = artifact.load(folder)
    assert kept == CARD
    assert same(its, state)
    assert sorted(path.name for path in folder.iterdir()) == [CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE, "openvino"]


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_file_that_may_not_be_read_is_named_with_the_remedy(name: str, state: dict[str, torch.Tensor]) -> None:
    with folder_for_all() as folder:
        artifact.save(folder, CARD, state)
        (folder / name).chmod(0)
        with without_root(), pytest.raises(DataError, match=rf"{name} may not be read by user \d+ .*chmod -R a\+rX"):
            artifact.load(folder)


def test_exactly_three_files_are_left(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE]


def test_channels_last_weights_are_saved_whole(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    reordered = {"conv.weight": state["conv.weight"].to(memory_format=torch.channels_last)}
    artifact.save(tmp_path, CARD, reordered)
    assert torch.equal(artifact.load(tmp_path)[1]["conv.weight"], state["conv.weight"])


def test_saving_again_replaces(folder: Path, state: dict[str, torch.Tensor]) -> None:
    better = {name: tensor + 1 for name, tensor in state.items()}
    artifact.save(folder, CARD.model_copy(update={"metrics": {"validation:dice": 0.95}}), better)
    config, weights = artifact.load(folder)
    assert config.metrics == {"validation:dice": 0.95}
    assert same(weights, better)


@pytest.mark.parametrize("prefix", ["", "nested/"])
def test_a_tarball_as_sagemaker_makes_it(
    folder: Path, state: dict[str, torch.Tensor], tmp_path: Path, prefix: str
) -> None:
    archive = pack_model(folder, tmp_path / "model.tar.gz", prefix)
    assert same(artifact.load(archive)[1], state)


def test_a_folder_nested_one_deep(folder: Path, tmp_path: Path) -> None:
    assert artifact.load(tmp_path)[0] == CARD


def test_several_models_are_not_guessed_between(folder: Path, tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    artifact.save(tmp_path / "other", CARD, state)
    with pytest.raises(DataError, match=r"several models \(model, other\)"):
        artifact.load(tmp_path)


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.json and model\.safetensors are missing \(it holds: nothing\)"):
        artifact.load(tmp_path)


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        artifact.load(tmp_path / "nowhere")


def test_damaged_weights(folder: Path) -> None:
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        artifact.load(folder)


def flip_a_bit(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def make_a_hole(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position - 64 :] = bytes(len(content[position - 64 :]))
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_bit, make_a_hole])
def test_weights_that_still_load_but_were_changed_are_refused(
    folder: Path, damage: Callable[[Path, int], None]
) -> None:
    damage(folder / WEIGHTS_FILE, -20)
    artifact.read_weights(folder)  # safetensors sees nothing
    with pytest.raises(DataError, match=rf"{WEIGHTS_FILE} is damaged or was changed: its SHA-256 is .* remove checks"):
        artifact.load(folder)


def test_a_config_that_was_changed_is_refused_until_its_checksum_is_removed(folder: Path) -> None:
    config = folder / CONFIG_FILE
    config.write_text(config.read_text().replace('"threshold": 0.5', '"threshold": 0.7'))
    with pytest.raises(DataError, match=rf"{CONFIG_FILE} is damaged or was changed"):
        artifact.load(folder)
    (folder / CHECKSUMS_FILE).unlink()
    assert artifact.load(folder)[0].threshold == 0.7


def test_an_artifact_from_before_the_checksums_loads_with_one_warning(
    folder: Path, state: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    (folder / CHECKSUMS_FILE).unlink()
    assert same(artifact.load(folder)[1], state)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "has no checksums.json" in caplog.text


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "[" * 100_000, '{"algorithm": "md5", "files": {}}', '{"algorithm": "sha256", "files": 3}'],
)
def test_damaged_checksums(folder: Path, content: str) -> None:
    (folder / CHECKSUMS_FILE).write_text(content)
    with pytest.raises(DataError, match=r"checksums\.json (is damaged|holds 'md5')"):
        artifact.load(folder)


def test_checksums_point_at_no_other_file(folder: Path, tmp_path: Path) -> None:
    """A FIFO that a list from outside names would be read for ever."""
    os.mkfifo(tmp_path / "fifo")
    listed = json.loads((folder / CHECKSUMS_FILE).read_text())
    listed["files"]["../fifo"] = "0" * 64
    (folder / CHECKSUMS_FILE).write_text(json.dumps(listed))
    artifact.load(folder)


def test_missing_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(DataError, match=r"model\.safetensors is missing"):
        artifact.load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 2}, "format_version 2; this image"),
        ({"activation": "tanh"}, "activation: "),
        ({"classes": []}, "classes: "),
        ({"surprise": 1}, "surprise: "),
        ({"threshold": 9}, "threshold is 9"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"metrics": {"dice": float("inf")}}, "metrics.dice is not a finite number"),
        ({"classes": [{"name": "a", "value": 7}, {"name": "b", "value": 7}]}, "the value 7 more than once"),
        ({"classes": [{"name": "a", "value": 1}, {"name": "b"}]}, "the value 1 more than once"),
        ({"classes": [{"name": "a", "value": 1}, {"name": "a", "value": 2}]}, "the name 'a' more than once"),
        (
            {"classes": [{"name": "a"}, {"name": "b\r\nX-Evil: 1"}]},
            r"'b\\r\\nX-Evil: 1' has control characters",
        ),
        ({"classes": [{"name": "a"}, {"name": "b\u202e"}]}, r"the name 'b\\u202e' has control characters"),
        ({"classes": [{"name": "a"}, {"name": "é" * 501}]}, "has 501 characters; 500 are the most"),
        ({"classes": [{"name": "a"}, {"name": " "}]}, "the name ' ' is empty"),
        ({"classes": [{"name": str(value)} for value in range(5)]}, "model.outputs is 1 for 5 classes"),
        ({"classes": [{"name": "a"}]}, "model.outputs is 1 for 1 classes"),
        ({"activation": "softmax"}, "model.outputs is 1 for 2 classes; there must be one output for each class"),
        ({"model": SPEC | {"outputs": 2}}, "model.outputs is 2 for 2 classes; segmentation with activation=sigmoid"),
        ({"model": SPEC | {"dropout_rate": 1.5}}, "model.dropout_rate is 1.5"),
        ({"preprocess": RULE | {"height": 10**9}}, "preprocess.height is 1000000000; this image supports up to 16384"),
        ({"preprocess": RULE | {"height": 2**63}}, "preprocess.height"),
        ({"preprocess": RULE | {"height": 16384, "width": 16384}}, "preprocess.height × width is 268435456"),
        ({"preprocess": RULE | {"resize": "short_side"}}, "preprocess.resize is short_side; segmentation needs whole"),
        ({"preprocess": RULE | {"std": [0.2, 0, 0.2]}}, "preprocess.std is .*finite numbers above 0"),
        ({"preprocess": RULE | {"std": [float("inf")] * 3}}, "preprocess.std is"),
        ({"preprocess": RULE | {"mean": [float("nan")] * 3}}, "preprocess.mean is"),
        (
            {
                "model": SPEC | {"outputs": 300},
                "activation": "softmax",
                "classes": [{"name": str(value)} for value in range(300)],
            },
            "classes are 300; masks have at most 256",
        ),
    ],
)
def test_a_card_that_is_not_ours(folder: Path, change: dict[str, object], said: str) -> None:
    config = folder / CONFIG_FILE
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(DataError, match=said):
        artifact.load(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00", "[" * 200_000, "1" * 5000])
def test_a_card_that_is_not_json(folder: Path, content: str) -> None:
    (folder / CONFIG_FILE).write_text(content)
    with pytest.raises(DataError, match=r"model\.json"):
        artifact.load(folder)


def test_a_tarball_that_leaves_its_folder(tmp_path: Path, folder: Path) -> None:
    archive = pack(folder / CONFIG_FILE, tmp_path / "evil.tar.gz", inside="../../escaped.json")
    with pytest.raises(DataError, match=r"evil\.tar\.gz is not unpacked: \.\./\.\./escaped\.json leads out"):
        artifact.load(archive)
    assert not (tmp_path.parent / "escaped.json").exists()


def test_a_torn_tarball(tmp_path: Path, folder: Path) -> None:
    archive = pack(folder, tmp_path / "model.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"model\.tar\.gz.* cannot be unpacked: it is cut short or damaged"):
        artifact.load(archive)


def test_an_error_names_the_archive_and_not_the_folder_it_was_unpacked_in(tmp_path: Path, folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    archive = pack(folder, tmp_path / "model.tar.gz")
    with pytest.raises(DataError, match=rf"^{archive}/{WEIGHTS_FILE} is missing"):
        artifact.load(archive)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.tar.gz")
    with pytest.raises(DataError, match="is neither a folder nor a file"):
        artifact.load(tmp_path / "model.tar.gz")


def test_a_folder_that_holds_only_the_archive_stands_for_it(
    folder: Path, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir()
    pack(folder, downloaded / "model.tar.gz")
    config, weights = artifact.load(downloaded)
    assert config == CARD
    assert same(weights, state)
    (downloaded / "other.txt").write_text("")
    with pytest.raises(DataError, match=r"holds no model.*it holds: model\.tar\.gz, other\.txt"):
        artifact.load(downloaded)
