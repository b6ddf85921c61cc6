"""`byoc-vision check` on a laptop, and `preflight.json` of a job."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.jobs import QUICK, run_train, write_hyperparameters

from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.paths import MlPaths


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """train/ and validation/ with train_annotation/ and validation_annotation/: 6 and 2 images."""
    make_segmentation_set(tmp_path / "scenes", count_train=6, count_validation=2, size=64)
    return tmp_path / "scenes"


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """train/ and validation/ with class folders: 12 and 4 images."""
    make_classification_set(tmp_path / "shapes", count_train=12, count_validation=4, size=32)
    return tmp_path / "shapes"


def first(folder: Path) -> Path:
    return min(path for path in folder.rglob("*") if path.is_file())


def content(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


class TestCommand:
    def test_good_masks(self, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(scenes)]) == 0
        said = capsys.readouterr().out
        assert "8 images (6 train, 2 validation)" in said
        assert "\nsizes " in said
        assert "share of pixels" in said
        assert "\x1b" not in said

    def test_one_channel_alone(self, scenes: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(shapes / "train")]) == 0
        assert "class folders" in capsys.readouterr().out
        assert main(["check", str(scenes / "train")]) == 0, "its masks lie beside it"

    def test_the_channels_of_a_job(self, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (shapes / "pretrained").mkdir()
        (shapes / "pretrained/model.safetensors").write_bytes(b"")
        assert main(["check", str(shapes)]) == 0
        assert "16 images (12 train, 4 validation)" in capsys.readouterr().out

    def test_the_report(self, shapes: Path, tmp_path: Path) -> None:
        assert main(["check", str(shapes), "--json", str(tmp_path / "deep/report.json"), "--pictures", "8"]) == 0
        report = content(tmp_path / "deep/report.json")
        assert report["schema_version"] == 1
        assert report["samples"] == {"train": 12, "validation": 4}
        assert report["checked"] == {"train": 6, "validation": 2}
        assert sum(entry["pictures"]["train"] for entry in report["classes"]) == 12
        assert (report["errors"], report["bad"]) == ([], [])

    def test_bad_samples_left_out(self, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        bad = first(shapes / "train")
        bad.write_bytes(b"")
        report = tmp_path / "report.json"
        assert main(["check", str(shapes), "--json", str(report)]) == 3
        assert "on_bad_sample=skip" in content(report)["errors"][0]
        assert str(bad) in content(report)["errors"][0]
        assert main(["check", str(shapes), "--json", str(report), "--on-bad-sample", "skip"]) == 0
        assert content(report)["bad_count"] == 1
        assert content(report)["errors"] == []
        assert f"1 invalid samples are left out:\n  - {bad}" in capsys.readouterr().out

    def test_data_that_cannot_be_listed(self, scenes: Path, tmp_path: Path) -> None:
        mask = first(scenes / "train_annotation")
        mask.unlink()
        assert main(["check", str(scenes), "--json", str(tmp_path / "report.json")]) == 3
        (error,) = content(tmp_path / "report.json")["errors"]
        assert f"image without a mask: {first(scenes / 'train').name}" in error

    def test_a_folder_that_does_not_exist(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(tmp_path / "gone")]) == 2
        assert "gone cannot be listed: No such file or directory" in capsys.readouterr().out

    def test_a_report_that_cannot_be_written(self, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(shapes), "--json", str(shapes)]) == 4
        assert f"{shapes} cannot be written: Is a directory" in capsys.readouterr().out

    def test_zero_images_are_refused(self, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["check", str(shapes), "--pictures", "0"])
        assert "'0' is not a whole number above 0" in capsys.readouterr().err

    def test_it_starts_without_torch(self, shapes: Path) -> None:
        code = (
            "import sys; from byoc_vision.cli import main; status = main(sys.argv[1:]); "
            "sys.exit(status or ('torch was imported' if 'torch' in sys.modules else 0))"
        )
        done = subprocess.run([sys.executable, "-c", code, "check", str(shapes)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def copy(source: Path, target: Path) -> None:
    shutil.copy(source, target)


def two_frames(path: Path) -> None:
    frames = [Image.new("L", (64, 64), value) for value in (0, 1)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
    path.unlink()


def change(path: Path, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    assert cv2.imwrite(str(path), edit(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


# What is done to the first training mask (or its image), and the remedy that is named.
BAD_MASKS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "of another size": (
        "train_annotation",
        lambda path: change(path, lambda mask: mask[:-2]),
        "export both in the same size",
    ),
    "of other values": ("train_annotation", lambda path: change(path, lambda mask: mask + 9), "with ignore_index"),
    "with two frames": ("train_annotation", two_frames, "save one file per image"),
    "cut short": ("train_annotation", lambda path: path.write_bytes(path.read_bytes()[:-20]), "copy it again"),
    "empty": ("train_annotation", lambda path: path.write_bytes(b""), "on_bad_sample=skip"),
    "a damaged image": ("train", lambda path: path.write_bytes(path.read_bytes()[:-200]), "copy it again"),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_bad_masks_end_the_check_by_name(scenes: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    channel, spoil, remedy = BAD_MASKS[case]
    path = first(scenes / channel)
    spoil(path)
    assert main(["check", str(scenes), "--num-classes", "5"]) == 3
    said = capsys.readouterr().out
    assert str(path.with_suffix("")) in said
    assert remedy in said


def test_an_image_in_two_splits_is_a_warning(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaked = first(shapes / "validation")
    again = shapes / "train" / leaked.parent.name / "leaked.png"
    copy(leaked, again)
    assert main(["check", str(shapes)]) == 0
    said = capsys.readouterr().out
    assert f"{again} = {leaked}" in said
    assert "remove one of each pair" in said


def test_an_image_of_two_classes_is_a_warning(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other, *_ = sorted(path for path in (shapes / "train").iterdir())
    copy(first(one), other / "copied.png")
    assert main(["check", str(shapes)]) == 0
    said = capsys.readouterr().out
    assert f"{first(one)} = {other / 'copied.png'}" in said
    assert "keep the right one of each pair" in said


class TestJob:
    @pytest.fixture
    def paths(self, shapes: Path, tmp_path: Path) -> MlPaths:
        paths = MlPaths(tmp_path / "ml")
        shutil.copytree(shapes, paths.channels)
        write_hyperparameters(paths, {"epochs": "1", "image_size": "64", "model": "test_resnet", **QUICK})
        return paths

    def test_the_report_knows_the_input(self, paths: MlPaths) -> None:
        assert run_train(paths) == 0
        report = content(paths.output_data / "preflight.json")
        assert (report["input_size"], report["smaller"]) == ([64, 64], 16)
        assert "a smaller image_size trains faster" in report["warnings"][-1]
        assert report["classes"][0]["pictures"].keys() == {"train", "validation"}

    def test_the_report_of_refused_data_names_the_reason(self, paths: MlPaths) -> None:
        bad = first(paths.channel("train"))
        bad.write_text("no image")
        assert run_train(paths) == 3
        report = content(paths.output_data / "preflight.json")
        assert str(bad) in report["errors"][0]
        assert report["errors"][0] in paths.failure.read_text(encoding="utf-8")
        assert not paths.model.exists()
