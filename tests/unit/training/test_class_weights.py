from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from byoc_vision.data.preflight.report import ClassReport
from byoc_vision.data.preflight.scan import MaskStats, SampleStats
from byoc_vision.data.preflight.statistics import count_classes
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.training.class_weights import class_weights
from byoc_vision.types import ClassInfo

IMAGE = Path("picture.jpg")
CLASSES = (ClassInfo("cat"), ClassInfo("dog"), ClassInfo("owl"))


def labelled(*counts: int) -> Dataset:
    samples = tuple(Sample(IMAGE, label=label) for label, count in enumerate(counts) for _ in range(count))
    return Dataset("classification", CLASSES[: len(counts)], samples, samples[:1])


def counted(dataset: Dataset, shares: tuple[float | None, ...], images: tuple[int, ...]) -> list[ClassReport]:
    return [
        ClassReport(entry.name, entry.value, {"train": count}, share)
        for entry, share, count in zip(dataset.classes, shares, images, strict=True)
    ]


def weights(setting: str, dataset: Dataset, **others: str) -> tuple[float, ...] | None:
    counts = tuple(sum(sample.label == label for sample in dataset.train) for label in range(len(dataset.classes)))
    report = counted(dataset, tuple(None for _ in dataset.classes), counts)
    return class_weights(parse({"class_weights": setting, **others}), dataset, report)


def test_none_is_the_default() -> None:
    assert weights("none", labelled(3, 1)) is None


def test_balanced_is_the_inverse_of_the_count() -> None:
    assert weights("balanced", labelled(60, 30, 10)) == pytest.approx((100 / 180, 100 / 90, 100 / 30))
    assert weights("balanced", labelled(5, 5)) == (1.0, 1.0)


def test_the_built_in_algorithm_s_name() -> None:
    dataset = labelled(3, 1)
    report = counted(dataset, (None, None), (3, 1))
    assert class_weights(parse({"use_weighted_loss": "1"}), dataset, report) == weights("balanced", dataset)
    assert class_weights(parse({"use_weighted_loss": "0"}), dataset, report) is None


def test_effective_number() -> None:
    """Cui et al. 2019, equation 2, by hand for beta 0.9: 1 image counts 1, 2 images 1.9."""
    rare, common = 0.1 / (1 - 0.9), 0.1 / (1 - 0.9**2)
    mean = (rare + common) / 2
    found = weights("effective", labelled(1, 2), effective_number_beta="0.9")
    assert found == pytest.approx((rare / mean, common / mean))


def test_a_list() -> None:
    assert weights("1, 2.5, 0", labelled(1, 1, 1)) == (1.0, 2.5, 0.0)


def test_a_list_of_the_wrong_length_names_the_classes() -> None:
    with pytest.raises(InputError, match=r"class_weights has 2 numbers, but there are 3 classes.*cat, dog, owl"):
        weights("1, 2", labelled(1, 1, 1))


def test_all_zero() -> None:
    with pytest.raises(InputError, match="nothing would be learned"):
        weights("0, 0", labelled(1, 1))


def test_a_class_that_is_never_seen_counts_as_usual() -> None:
    assert weights("balanced", labelled(4, 0, 4)) == (1.0, 1.0, 1.0)
    assert weights("effective", labelled(4, 0, 4)) == (1.0, 1.0, 1.0)


def test_masks_are_weighed_by_pixels() -> None:
    sample = Sample(IMAGE, mask=IMAGE)
    dataset = Dataset("segmentation", (ClassInfo("road", 0), ClassInfo("sign", 1)), (sample,) * 4, (sample,))
    report = counted(dataset, (0.9, 0.1), (4, 1))
    assert class_weights(parse({"class_weights": "balanced"}), dataset, report) == pytest.approx((1 / 1.8, 1 / 0.2))
    by_images = class_weights(parse({"class_weights": "effective"}), dataset, report)
    assert by_images is not None
    assert by_images[1] > by_images[0]


def test_masks_that_were_not_read_are_taken_to_be_like_those_that_were() -> None:
    sample = Sample(IMAGE, mask=IMAGE)
    dataset = Dataset("segmentation", (ClassInfo("road", 0), ClassInfo("sign", 1)), (sample,) * 40, (sample,))
    asked = parse({"class_weights": "effective", "effective_number_beta": "0.9"})
    of_a_tenth = class_weights(asked, dataset, counted(dataset, (0.9, 0.1), (4, 1)), masks_read=4)
    assert of_a_tenth == class_weights(asked, dataset, counted(dataset, (0.9, 0.1), (40, 10)), masks_read=40)
    assert of_a_tenth != class_weights(asked, dataset, counted(dataset, (0.9, 0.1), (4, 1)))


def test_several_labels_weigh_presence_against_absence() -> None:
    samples = tuple(Sample(IMAGE, labels=labels) for labels in [(0,), (0, 1), (0,), ()])
    dataset = Dataset("classification", CLASSES[:2], samples, samples[:1], multi_label=True)
    report = counted(dataset, (None, None), (3, 1))
    assert class_weights(parse({"class_weights": "balanced"}), dataset, report) == pytest.approx((1 / 3, 3.0))


def test_a_class_that_every_image_has_still_counts(caplog: pytest.LogCaptureFixture) -> None:
    samples = tuple(Sample(IMAGE, labels=(0, 1) if index < 5 else (0,)) for index in range(10))
    dataset = Dataset("classification", CLASSES[:2], samples, samples[:1], multi_label=True)
    found = class_weights(parse({"class_weights": "balanced"}), dataset, counted(dataset, (None, None), (10, 5)))
    assert found == (0.1, 1.0)
    assert "nearly every image has cat" in caplog.text


def test_weights_and_sampling_together_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    weights("balanced", labelled(3, 1), sampling="balanced")
    assert "count twice; leave one of them out" in caplog.text


def masked(train: int) -> Dataset:
    samples = tuple(Sample(IMAGE, mask=IMAGE) for _ in range(train))
    return Dataset("segmentation", (ClassInfo("road", 0), ClassInfo("sign", 1)), samples, samples[:1])


def test_weights_from_a_part_of_the_masks_are_estimates(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    dataset, asked = masked(500), parse({"class_weights": "balanced"})
    class_weights(asked, dataset, counted(dataset, (0.9, 0.1), (100, 60)), masks_read=100)
    (estimate,) = caplog.records
    assert "estimated from 100 of 500 training masks; checked_pictures=500 reads all" in estimate.getMessage()
    caplog.clear()
    class_weights(asked, dataset, counted(dataset, (0.9, 0.1), (100, 1)), masks_read=100)
    assert "the weights of sign (1 masks) may be far off" in caplog.records[-1].getMessage()
    assert caplog.records[-1].levelname == "WARNING"


def test_weights_from_all_masks_are_not_estimates(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    dataset = masked(100)
    report = counted(dataset, (0.9, 0.1), (100, 1))
    class_weights(parse({"class_weights": "balanced"}), dataset, report, masks_read=100)
    assert not caplog.records


def test_one_pixel_in_a_million_has_its_weight() -> None:
    dataset = masked(4)
    black, mask = np.zeros(3), MaskStats(values=(0, 1), pixels=(3_999_999, 1))
    stats = SampleStats(dataset.train[0], 2000, 2000, b"", black, black, 0, 0, True, True, mask)
    report = count_classes(dataset, {"train": [stats]})
    found = class_weights(parse({"class_weights": "balanced"}), dataset, report)
    assert found == pytest.approx((4_000_000 / (2 * 3_999_999), 2_000_000.0))
