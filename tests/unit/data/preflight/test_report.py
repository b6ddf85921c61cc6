from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from support.images import save_grey

from byoc_vision.data.preflight.check import inspect
from byoc_vision.data.preflight.report import summary
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.types import ClassInfo


def lines(dataset: Dataset, options: DataOptions | None = None, input_size: tuple[int, int] | None = None) -> list[str]:
    report = inspect(dataset, options or DataOptions(), input_size=input_size).report
    return summary(report)[1:]  # the first tells seconds


def test_classification(tmp_path: Path) -> None:
    path = save_grey(tmp_path / "a.png")
    other = save_grey(tmp_path / "b.png", 100)
    classes = (ClassInfo("cat"), ClassInfo("wildebeest"))
    train = (Sample(path, label=0), Sample(path, label=0), Sample(other, label=1))
    assert lines(Dataset("classification", classes, train, (Sample(other, label=1),)), input_size=(7, 7)) == [
        "sizes     width 8, height 6 pixels; 4 smaller than the input, 7 × 7",
        "channels  mean 0.37 0.37 0.37, std 0.02 0.02 0.02 (RGB, 0–1); 3 of 3 are grey",
        "copies    1 images repeat another of their split, byte for byte",
        "class       train  validation  share",
        "cat             2           0  66.7%",
        "wildebeest      1           1  33.3%",
    ]


def test_segmentation(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[:, 6:] = 1
    mask[0] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    sample = Sample(save_grey(tmp_path / "a.png"), tmp_path / "m.png")
    empty = save_grey(tmp_path / "empty.png", 0)
    train = (sample, Sample(save_grey(tmp_path / "b.png", 50), empty))
    assert lines(Dataset("segmentation", (), train, (sample,)))[2:-3] == [
        "foreground  0.0% to 25.0% of an image (median 12.5%); 1 masks empty, 0 full",
        "ignored     8.3% of the pixels, value 255",
    ]
    assert lines(Dataset("segmentation", (), train, ()))[-3:] == [
        "class       value  train  share of pixels",
        "background      0      2            88.6%",
        "foreground      1      1            11.4%",
    ]


def test_images_with_several_classes(tmp_path: Path) -> None:
    path = save_grey(tmp_path / "a.png")
    train = (Sample(path, labels=(0, 1)), Sample(path, labels=(0, 1)), Sample(path, labels=()))
    shown = lines(Dataset("classification", (ClassInfo("a"), ClassInfo("b")), train, (), multi_label=True))
    assert "unlabelled  1 training images have no class" in shown
    assert shown[-2:] == ["a          2  66.7%", "b          2  66.7%"]


def test_of_very_many_classes_the_largest_and_the_smallest(tmp_path: Path) -> None:
    path = save_grey(tmp_path / "a.png")
    classes = tuple(ClassInfo(f"class_{index}") for index in range(25))
    train = tuple(Sample(path, label=index) for index in range(25) for _ in range(25 - index))
    shown = lines(Dataset("classification", classes, train, ()))
    names = [line.split()[0] for line in shown[-22:]]
    assert names == ["class", *(f"class_{index}" for index in range(10)), "…", *(f"class_{i}" for i in range(15, 25))]
    assert "… and 5 classes between" in shown


def test_a_sample_of_a_large_set_says_so(tmp_path: Path) -> None:
    path = save_grey(tmp_path / "a.png")
    dataset = Dataset("classification", (ClassInfo("a"),), tuple(Sample(path, label=0) for _ in range(1200)), ())
    report = inspect(dataset, DataOptions(checked_pictures=30)).report
    assert summary(report)[0].startswith("checked   30 of 1,200 images (30 train)")
    assert summary(report)[1].startswith("others    are there and not empty; they are read in the first epoch")
    assert "checked_pictures=1200 or `byoc-vision check --pictures 1200` reads all before" in summary(report)[1]
    assert report.classes[0].in_training == 1200
    assert report.is_sampled


def test_files_that_were_not_compared_are_counted(tmp_path: Path) -> None:
    train = (Sample(save_grey(tmp_path / "a.png"), label=0),)
    report = inspect(Dataset("classification", (ClassInfo("a"),), train, ()), DataOptions()).report
    assert not any(line.startswith(("copies", "others")) for line in summary(report))
    report = replace(report, duplicates=replace(report.duplicates, uncompared=1234))
    assert "copies    1,234 more files, each as large as another, were not compared with it" in summary(report)
