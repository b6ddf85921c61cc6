"""The whole way into an output folder that is either complete or not there."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.datasets import camvid_tree, class_folders_tree
from support.images import draw_scene, save_image

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.prepare import prepare
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError, InputError


@pytest.fixture
def dogs(tmp_path: Path) -> Path:
    """Ten images of each of two classes, all different, in one channel without a split."""
    for label, name in enumerate(("001.Afghan_hound", "002.Basenji")):
        for index in range(10):
            save_image(tmp_path / "dogs" / name / f"{index}.png", draw_scene(100 * label + index)[0])
    return tmp_path / "dogs"


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_splits_are_those_of_the_seed(dogs: Path, tmp_path: Path) -> None:
    options = DataOptions(validation_split=0.2, seed=7)
    prepare([dogs], tmp_path / "out", options, test_split=0.25)
    assert left(tmp_path / "out") == ["dataset.json", "test", "train", "validation"]
    counts = {split: len(list((tmp_path / "out" / split).rglob("*.png"))) for split in ("train", "validation", "test")}
    assert counts == {"train": 12, "validation": 4, "test": 4}
    held_out = {sample.image.name for sample in find_dataset({"train": dogs}, options).validation}
    assert {path.name for path in (tmp_path / "out/validation").rglob("*.png")} == held_out


def test_the_record_says_what_was_done(dogs: Path, tmp_path: Path) -> None:
    prepare([dogs], tmp_path / "out", DataOptions(layout="class_folders", seed=3))
    record = json.loads((tmp_path / "out/dataset.json").read_text())
    assert {name: record[name] for name in ("sources", "layout", "seed", "task", "pictures", "ignore_value")} == {
        "sources": ["dogs"],
        "layout": "class_folders",
        "seed": 3,
        "task": "classification",
        "pictures": {"train": 16, "validation": 4},
        "ignore_value": None,
    }
    assert record["classes"][0] == {
        "name": "Afghan_hound",
        "value": None,
        "pictures": {"train": 8, "validation": 2},
    }


def test_the_log_says_how_to_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    prepare([camvid_tree(tmp_path / "CamVid")], tmp_path / "out", DataOptions())
    assert "11 classes; images: train 4, validation 2, test 2" in caplog.text
    assert f"-v {tmp_path}/out:/opt/ml/input/data:ro byoc-vision train" in caplog.text
    assert '"validation_annotation": "s3://BUCKET/PREFIX/validation_annotation/"' in caplog.text
    assert "without that file training needs ignore_index=11" in caplog.text


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_or_absent_folder_is_filled(there: bool, dogs: Path, tmp_path: Path) -> None:
    output = tmp_path / "a" / "b"
    if there:
        output.mkdir(parents=True)
    prepare([dogs], output, DataOptions())
    assert left(output.parent) == ["b"]
    assert output.stat().st_mode & 0o077 == (tmp_path / "dogs").stat().st_mode & 0o077


def test_a_folder_that_is_not_empty_stays_as_it_is(dogs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dogs is not empty; name a new folder"):
        prepare([dogs], dogs, DataOptions())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file"):
        prepare([dogs], tmp_path / "file", DataOptions())
    assert left(tmp_path) == ["dogs", "file"]


def test_a_folder_that_cannot_be(dogs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.* was not written"):
        prepare([dogs], tmp_path / "file" / "out", DataOptions())


@pytest.mark.parametrize("share", [0, 1, -0.2, float("nan")])
def test_a_share_that_is_none_is_refused_before_the_sources_are_read(share: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--validation-split is .*between 0 and 1"):
        prepare([tmp_path / "missing"], tmp_path / "out", DataOptions(validation_split=share))
    with pytest.raises(InputError, match=r"--test-split is .*between 0 and 1"):
        prepare([tmp_path / "missing"], tmp_path / "out", DataOptions(), test_split=share)


def test_the_datas_own_test_split_is_kept(tmp_path: Path) -> None:
    dogs = class_folders_tree(tmp_path / "dogs")
    with pytest.raises(InputError, match="the data have a test split; leave --test-split out"):
        prepare([dogs], tmp_path / "out", DataOptions(), test_split=0.2)


class TestBadSamples:
    @pytest.fixture
    def spoil(self, dogs: Path) -> Callable[[], None]:
        def two() -> None:
            (dogs / "001.Afghan_hound/3.png").write_bytes(b"")
            (dogs / "002.Basenji/5.png").write_text("words")

        return two

    def test_all_are_named_and_nothing_is_written(self, dogs: Path, spoil: Callable[[], None], tmp_path: Path) -> None:
        spoil()
        with pytest.raises(DataError) as refused:
            prepare([dogs], tmp_path / "out", DataOptions())
        assert "001.Afghan_hound/3.png" in str(refused.value)
        assert "002.Basenji/5.png" in str(refused.value)
        assert left(tmp_path) == ["dogs"]

    def test_in_an_archive_they_have_the_names_of_its_members(
        self, dogs: Path, spoil: Callable[[], None], tmp_path: Path
    ) -> None:
        spoil()
        archive = Path(shutil.make_archive(str(tmp_path / "dogs"), "zip", dogs))
        with pytest.raises(DataError, match=r"(?m)^  - 001\.Afghan_hound/3\.png is not a"):
            prepare([archive], tmp_path / "out", DataOptions())

    def test_they_can_be_left_out(self, dogs: Path, spoil: Callable[[], None], tmp_path: Path) -> None:
        spoil()
        prepare([dogs], tmp_path / "out", DataOptions(on_bad_sample="skip"))
        assert len(list((tmp_path / "out").rglob("*.png"))) == 18
