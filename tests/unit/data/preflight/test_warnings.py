"""Each warning: when it comes, what it names, and the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import draw_noise, save_image

from byoc_vision.data.preflight import find_and_check
from byoc_vision.data.preflight.report import (
    Channels,
    ClassReport,
    Coverage,
    Duplicates,
    PreflightReport,
    Range,
    Tones,
)
from byoc_vision.data.preflight.warnings import find_warnings
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.types import Task

GREY = (0.1, 0.1, 0.1)
TONES = Tones(images=100, grey=0, dark=0, bright=0, two_tone=0)
COVERAGE = Coverage(minimum=0.0, median=0.3, maximum=0.9, masks=100, empty=10, full=0)


def report(task: Task = "classification", **changes: Any) -> PreflightReport:
    """Good data: nothing to warn of."""
    share = 0.5 if task == "segmentation" else None
    value = 0 if task == "segmentation" else None
    good = PreflightReport(
        task=task,
        samples={"train": 100, "validation": 20},
        checked={"train": 100, "validation": 20},
        classes=[ClassReport(name, value, {"train": 50}, share) for name in ("cat", "dog")],
        ignore_value=None,
        ignored_share=None,
        height=Range(10, 20, 30),
        width=Range(10, 20, 30),
        input_size=(16, 16),
        smaller=60,
        channels=Channels((0.68, 0.67, 0.68), (0.2, 0.2, 0.2)),
        tones=TONES,
        coverage=None,
        duplicates=Duplicates(within=5),
        unlabelled=None,
        bad=[],
        bad_count=0,
        skipped=False,
        warnings=[],
        errors=[],
        seconds=0.0,
    )
    return replace(good, **changes)


def warnings(
    seen: PreflightReport, options: DataOptions | None = None, *, balanced: bool = False, multi_label: bool = False
) -> list[str]:
    dataset = Dataset(seen.task, (), (), (), multi_label=multi_label)
    return find_warnings(seen, dataset, options or DataOptions(), balanced=balanced)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_good_data_are_not_warned_of(task: Task) -> None:
    assert warnings(report(task)) == []


def classes(first: int, second: int) -> list[ClassReport]:
    return [ClassReport("cat", None, {"train": first}, None), ClassReport("dog", None, {"train": second}, None)]


@pytest.mark.parametrize(("rare", "warned"), [(10, False), (9, True)])
def test_unbalanced_classes(rare: int, warned: bool) -> None:
    seen = report(classes=classes(100, rare))
    found = warnings(seen)
    assert bool(found) == warned
    if warned:
        assert "cat has 100 training images, dog 9; class_weights=balanced or sampling=balanced" in found[0]
        assert "sampling" not in warnings(seen, multi_label=True)[0]
    assert warnings(seen, balanced=True) == []


def test_a_class_without_training_images() -> None:
    (found,) = warnings(report(classes=classes(100, 0)), balanced=True)
    assert found.startswith("no training image shows the classes dog: the model cannot learn them; add images")


def test_a_class_without_training_masks_among_those_that_were_read() -> None:
    parts = [ClassReport("sky", 0, {"train": 9}, 1.0), ClassReport("sign", 4, {}, 0.0)]
    seen = report("segmentation", classes=parts, checked={"train": 9, "validation": 2}, smaller=0)
    (found,) = warnings(seen, DataOptions(num_classes=2))
    assert found.startswith("none of the 9 training masks read shows the classes sign (value 4): if no other mask does")


def test_classes_of_few_pixels() -> None:
    parts = [ClassReport("sky", 0, {"train": 9}, 0.995), ClassReport("sign", 4, {"train": 9}, 0.005)]
    (found,) = warnings(report("segmentation", classes=parts))
    assert "less than 1% of the pixels: sign (0.50%); class_weights=balanced" in found
    assert warnings(report("segmentation", classes=parts), balanced=True) == []


def test_copies_name_both_files_up_to_a_limit() -> None:
    pairs = [(f"train/{index}.jpg", f"test/{index}.jpg") for index in range(12)]
    leak, contradiction = warnings(report(duplicates=Duplicates(0, pairs, [("cat/a.jpg", "dog/b.jpg")])))
    assert leak.startswith("12 images are in two splits, byte for byte")
    assert "remove one of each pair" in leak
    assert "train/9.jpg = test/9.jpg" in leak
    assert "… and 2 more" in leak
    assert "keep the right one of each pair:\n  - cat/a.jpg = dog/b.jpg" in contradiction


@pytest.mark.parametrize(
    ("tones", "said"),
    [
        (replace(TONES, two_tone=51, dark=51), "hold at most two values; check that they are not masks"),
        (replace(TONES, dark=51), "51 of 100 training images are nearly black; of 16 bits the upper 8 are read"),
        (replace(TONES, bright=51), "nearly white; check that they were exported in their whole range"),
    ],
)
def test_sets_without_contrast_are_named(tones: Tones, said: str) -> None:
    (found,) = warnings(report(tones=tones, channels=Channels(GREY, GREY)))
    assert said in found


@pytest.mark.parametrize(("blue", "warned"), [(0.73, False), (0.75, True), (0.05, True)])
def test_a_mean_far_from_the_normalisation(blue: float, warned: bool) -> None:
    found = warnings(report(channels=Channels((0.485, 0.456, blue), GREY)))
    assert bool(found) == warned
    if warned:
        assert f"mean is 0.48 0.46 {blue:.2f}, far from the 0.48 0.46 0.41" in found[0]
        assert "freeze_epochs=0" in found[0]


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        (replace(COVERAGE, empty=51), "51 of 100 training masks show only background"),
        (
            replace(COVERAGE, median=0.99),
            "more than 98% foreground; check that foreground and background are not swapped",
        ),
    ],
)
def test_unusual_coverage(coverage: Coverage, said: str) -> None:
    assert warnings(report("segmentation", coverage=COVERAGE)) == []
    (found,) = warnings(report("segmentation", coverage=coverage))
    assert said in found


def test_most_images_smaller_than_the_input() -> None:
    (found,) = warnings(report(smaller=61))
    assert found.startswith("61 of 120 images are smaller than the model's input, 16 × 16, and are enlarged")
    assert "image_size" in found


def test_rare_classes_may_be_missed_in_a_sample_of_masks() -> None:
    seen = report("segmentation", checked={"train": 10, "validation": 2}, smaller=0)
    (found,) = warnings(seen)
    assert "come from 12 of 120 masks" in found
    assert "num_classes" in found
    assert warnings(seen, DataOptions(num_classes=2)) == []
    assert warnings(report(checked={"train": 10, "validation": 2}, smaller=0)) == []


def test_what_is_left_out_is_named() -> None:
    (found,) = warnings(report(bad=["a.jpg is empty"], bad_count=1, skipped=True))
    assert found == "1 invalid samples are left out:\n  - a.jpg is empty"


def test_a_wrong_number_of_samples() -> None:
    (found,) = warnings(report(), DataOptions(num_training_samples=3))
    assert found == "num_training_samples is 3, found and used: 0"


def test_classes_without_a_validation_image_are_named() -> None:
    classes = [
        ClassReport(name, None, {"train": 50, "validation": number}, None)
        for name, number in {"ok": 10, "crack": 0, "dent": 0}.items()
    ]
    (warning,) = warnings(report(classes=classes))
    assert warning.startswith(
        "no validation image shows the classes crack, dent: no metric says whether the model finds them"
    )
    assert "1 of 3 classes are validated" in warning


@pytest.mark.parametrize(
    ("checked", "words"),
    [(20, "no validation mask shows the classes car (value 1)"), (5, "none of the 5 validation masks read shows")],
)
def test_validation_masks_without_foreground_are_named(checked: int, words: str) -> None:
    classes = [
        ClassReport("background", 0, {"train": 100, "validation": checked}, 0.5),
        ClassReport("car", 1, {"train": 90, "validation": 0}, 0.5),
    ]
    seen = report("segmentation", classes=classes, checked={"train": 100, "validation": checked})
    (warning,) = [line for line in warnings(seen) if "validat" in line]
    assert words in warning


def test_many_ignored_pixels() -> None:
    (warning,) = warnings(report("segmentation", ignore_value=255, ignored_share=0.31))
    assert "31% of the pixels in training masks have the ignored value 255" in warning
    assert "set ignore_index" in warning
    assert warnings(report("segmentation", ignore_value=255, ignored_share=0.2)) == []


@pytest.mark.parametrize(("highest", "warned"), [((2, 3, 4, 5, 6), True), ((6, 6, 6, 6, 6), False)])
def test_masks_with_the_numbers_of_objects(tmp_path: Path, highest: tuple[int, ...], warned: bool) -> None:
    for index, last in enumerate(highest):
        save_image(tmp_path / f"images/{index}.png", draw_noise(16, 16, index))
        mask = np.zeros((16, 16), np.uint8)
        mask[0, : last + 1] = np.arange(last + 1)
        save_image(tmp_path / f"masks/{index}.png", mask)
    found = find_and_check({"train": tmp_path}, DataOptions()).report.warnings
    assert any("as if they were the numbers of objects" in text for text in found) is warned
