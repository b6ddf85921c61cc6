"""Jobs that look like real users' data, in ../shared/cases: `byoc-vision check` reads each as its user means it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.archives import pack_model
from support.jobs import QUICK

from byoc_vision.cli import main

CASES = Path(os.environ.get("BYOC_SHARED_CASES", Path(__file__).parents[3] / "shared/cases"))

Check = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.real_data


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Checks a copy of a case: the report, with the exit status as `status`."""

    def run(case: str, *arguments: str) -> dict[str, Any]:
        shutil.copytree(CASES / case, tmp_path / case)
        report = tmp_path / "report.json"
        status = main(["check", str(tmp_path / case / "input/data"), "--json", str(report), *arguments])
        return {**json.loads(report.read_text(encoding="utf-8")), "status": status}

    return run


def values(report: dict[str, Any]) -> list[int]:
    return [entry["value"] for entry in report["classes"]]


def names(report: dict[str, Any]) -> list[str]:
    return [entry["name"] for entry in report["classes"]]


@pytest.mark.parametrize(
    ("case", "samples", "expected"),
    [
        ("seg_folders_voc", {"train": 5, "validation": 1}, [0, 1, 2]),
        ("seg_folders_photos_masks", {"train": 5, "validation": 1}, [0, 255]),
        ("splits_inside_images", {"train": 5, "validation": 3, "test": 2}, [0, 1, 2]),
        ("masks_0_128_255", {"train": 5, "validation": 1}, [0, 128, 255]),
        ("masks_jpeg", {"train": 24, "validation": 6}, [0, 255]),
        ("dsb2018_instances", {"train": 5, "validation": 1}, [0, 255]),
        ("seg_nfc_nfd", {"train": 5, "validation": 1}, [0, 255]),
        ("wanted_labelme_json", {"train": 5, "validation": 1}, [0, 1]),
        ("wanted_yolo_seg", {"train": 6, "validation": 6}, [0, 1]),
        ("wanted_coco_json", {"train": 5, "validation": 1}, [0, 1]),
        ("notebook_prefix_siblings", {"train": 6, "validation": 3}, [0, 255]),
    ],
)
def test_segmentations(check: Check, case: str, samples: dict[str, int], expected: list[int]) -> None:
    report = check(case)
    assert report["status"] == 0
    assert report["task"] == "segmentation"
    assert report["samples"] == samples
    assert report["ignored_share"] in (None, 0.0)
    assert values(report) == expected


def test_colours_are_classes(check: Check) -> None:
    report = check("colour_masks_rgb")
    assert report["status"] == 0
    assert names(report) == ["#000000", "#008000", "#800000"]
    assert values(report) == [0, 1, 2]


def test_the_label_map_of_cvat_names_the_colours(check: Check) -> None:
    report = check("wanted_cvat_colour_masks")
    assert report["status"] == 0
    assert report["samples"] == {"train": 5, "validation": 1}
    assert names(report) == ["background", "car", "tree"]
    assert [entry["pixel_share"] for entry in report["classes"]] == pytest.approx([0.846, 0.06, 0.094], abs=0.001)


def test_the_object_of_jpeg_masks_is_a_class(check: Check) -> None:
    report = check("masks_jpeg")
    assert report["classes"][1]["pixel_share"] == pytest.approx(0.096, abs=0.01)
    assert any("save masks as PNG" in warning for warning in report["warnings"])


def test_the_folders_of_splits_are_not_classes(check: Check) -> None:
    report = check("splits_Training_Testing")
    assert names(report) == ["cat", "dog"]
    assert report["samples"] == {"train": 6, "validation": 2, "test": 4}


def test_no_file_is_dropped_silently(check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The case's HEIC files hold no image: they are counted, like files of endings that are not read."""
    report = check("files_dropped_silently")
    assert report["status"] == 0
    assert report["samples"] == {"train": 8, "validation": 2}, "JPEG files, some of them called .jfif"
    assert [sorted(entry["pictures"].values()) for entry in report["classes"]] == [[1, 4], [1, 4]]
    said = capsys.readouterr()
    assert "files that are not read: 12 (12 × .heic); none of them can be decoded" in said.out + said.err
    data = tmp_path / "files_dropped_silently/input/data"
    for broken in data.rglob("*.HEIC"):
        broken.rename(broken.with_suffix(".psd"))
    written = tmp_path / "second.json"
    assert main(["check", str(data), "--json", str(written)]) == 0
    assert json.loads(written.read_text(encoding="utf-8"))["samples"] == report["samples"]
    said = capsys.readouterr()
    assert "files that are not read: 12 (12 × .psd)" in said.out + said.err


def test_a_class_without_a_readable_file_is_an_error(check: Check, tmp_path: Path) -> None:
    check("files_dropped_silently")
    data = tmp_path / "files_dropped_silently/input/data"
    for image in [*data.glob("train/dog/*.jpg"), *data.glob("train/dog/*.jfif")]:
        image.unlink()
    written = tmp_path / "second.json"
    assert main(["check", str(data), "--json", str(written)]) == 3
    [error] = json.loads(written.read_text(encoding="utf-8"))["errors"]
    assert "classes without a training image that can be decoded" in error
    assert "dog: 6 × .heic" in error


def test_images_without_masks_can_be_left_out(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    report = check("skip_ignores_missing_masks", "--on-bad-sample", "skip")
    assert report["status"] == 0
    assert sum(report["samples"].values()) == 6
    said = capsys.readouterr()
    assert "without a mask, which are left out (on_bad_sample=skip): 2" in said.out + said.err


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a case, as a job's folder, without what a job adds to its model."""

    def copy(case: str) -> Path:
        root = shutil.copytree(CASES / case, tmp_path / case)
        for path in root.rglob("hyperparameters.json"):
            path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | QUICK), encoding="utf-8")
        return root

    return copy


def test_checkpoints_go_where_sagemaker_syncs_them(job: Callable[[str], Path]) -> None:
    root = job("checkpoint_local_path")
    assert main(["train", "--root", str(root)]) == 0
    assert list((root / "my_ckpt").glob("checkpoint-*.safetensors"))
    assert not (root / "checkpoints").exists()


def test_a_job_continues_from_the_channel_model(
    job: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = job("channel_model_tar")
    earlier = shutil.copytree(root, tmp_path / "earlier")
    assert main(["train", "--root", str(earlier)]) == 0
    (root / "input/data/model").mkdir()
    pack_model(earlier / "model", root / "input/data/model/model.tar.gz")
    capsys.readouterr()
    assert main(["train", "--root", str(root)]) == 0
    said = capsys.readouterr().out
    assert "Training continues from model.tar.gz in the channel model" in said
    assert "the whole network, as the classes are the same" in said


def test_a_root_that_is_the_folder_of_images_names_the_command_that_works(
    job: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pets = job("root_is_the_picture_folder") / "pets"
    before = set(pets.rglob("*"))
    assert main(["train", "--root", str(pets)]) == 2
    said = capsys.readouterr().out
    assert str(pets / "input/data") in said
    assert f"byoc-vision train {pets}" in said
    assert set(pets.rglob("*")) == before
    small = QUICK | {"epochs": "1", "image_size": "32", "batch_size": "4", "num_workers": "0", "model": "test_resnet"}
    assert main(["train", str(pets), *(f"{name}={value}" for name, value in small.items())]) == 0
    assert set(pets.rglob("*")) == before
    assert (pets.with_name("pets-job") / "model/model.json").is_file()


def test_images_without_an_ending_are_named(check: Check) -> None:
    report = check("no_extension")
    assert report["status"] != 0
    assert "12 × no ending; image files need an ending such as .jpg or .png" in report["errors"][0]


def test_the_columns_of_a_table_are_named_and_chosen(check: Check, tmp_path: Path) -> None:
    report = check("csv_label_column_unknown")
    assert report["status"] == 2
    [error] = report["errors"]
    assert "which column holds the labels is not clear: lesion_id (" in error
    assert "dx (nv, mel); choose with label_column" in error
    shutil.rmtree(tmp_path / "csv_label_column_unknown")
    report = check("csv_label_column_unknown", "--label-column", "dx")
    assert (report["status"], names(report)) == (0, ["mel", "nv"])


def test_a_missing_label_is_named_by_its_line(check: Check) -> None:
    report = check("csv_label_nan")
    assert report["status"] == 3
    assert "labels.csv, line 5: NaN in the column 'label' stands for a missing label" in report["errors"][0]


def test_each_line_of_a_manifest_has_its_own_colours(check: Check) -> None:
    report = check("ground_truth_maps_differ")
    assert report["status"] == 0
    shares = {entry["name"]: entry["pixel_share"] for entry in report["classes"]}
    assert shares == {
        "BACKGROUND": pytest.approx(0.4375),
        "car": pytest.approx(0.5),
        "road": pytest.approx(0.0625),
    }


@pytest.mark.parametrize("case", ["cls_batch_1", "deeplabv3plus_batch_1"])
def test_a_model_that_needs_batches_of_two_says_so_before_training(case: str, tmp_path: Path) -> None:
    shutil.copytree(CASES / case, tmp_path / "ml")
    assert main(["train", "--root", str(tmp_path / "ml")]) == 2
    failure = (tmp_path / "ml/output/failure").read_text(encoding="utf-8")
    assert "needs batches of two images or more" in failure
    assert "Set batch_size=2 or more" in failure


def test_a_class_of_two_images_is_validated_too(check: Check) -> None:
    report = check("holdout_rare_class_unvalidated")
    assert report["status"] == 0
    assert {entry["name"]: entry["pictures"] for entry in report["classes"]} == {
        "defect": {"train": 1, "validation": 1},
        "ok": {"train": 33, "validation": 7},
    }


def test_a_validation_without_foreground_is_a_warning(check: Check) -> None:
    report = check("validation_masks_all_black")
    assert report["status"] == 0
    [warning] = [text for text in report["warnings"] if "no validation mask" in text]
    assert "foreground (value 255)" in warning
    assert "1 of 2 classes are validated" in warning


def test_checkpoints_of_other_images_are_refused(job: Callable[[str], Path]) -> None:
    root = job("reused_checkpoints_other_data")
    assert main(["train", "--root", str(root)]) == 0
    shutil.rmtree(root / "input")
    (root / "second_input").rename(root / "input")
    assert main(["train", "--root", str(root)]) == 2
    failure = (root / "output/failure").read_text(encoding="utf-8")
    assert "resume=never" in failure
    assert "resume=weights" in failure


def test_images_of_four_bands_are_read_as_they_are(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    report = check("tiff_four_bands")
    assert report["status"] == 0
    assert len(report["channels"]["mean"]) == 4
    said = capsys.readouterr()
    assert "images have 4 bands" in said.out + said.err
