from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.images import save_image

from byoc_vision.data.preflight import inspect
from byoc_vision.data.preflight.report import ClassReport
from byoc_vision.data.preflight.scan import MaskStats, SampleStats
from byoc_vision.data.preflight.statistics import count_classes
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.errors import DataError, InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.launch.distributed import World
from byoc_vision.training import class_weights as class_weights_module
from byoc_vision.training.class_weights import class_weights, count_training_masks
from byoc_vision.training.data_partition import DataPartition
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


def test_sqrt_is_the_square_root_of_balanced() -> None:
    assert weights("sqrt", labelled(90, 10)) == pytest.approx((math.sqrt(100 / 180), math.sqrt(100 / 20)))
    assert weights("sqrt", labelled(4, 0, 4)) == (1.0, 1.0, 1.0), "a class that no image shows counts as usual"


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
    gentle = class_weights(parse({"class_weights": "sqrt"}), dataset, report)
    assert gentle == pytest.approx((math.sqrt(1 / 1.8), math.sqrt(1 / 0.2)))


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
    assert "estimated from 100 of 500 training masks" in estimate.getMessage()
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


class TestMasksThatTheCheckDidNotRead:
    """A sign of 4 pixels in one of 60 masks, which the check of the data misses."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Dataset:
        image = save_image(tmp_path / "image.png", np.full((10, 10, 3), 90, np.uint8))
        samples = []
        for index in range(60):
            mask = np.zeros((10, 10), np.uint8)
            mask[5:] = 1
            if index == 59:
                mask[:2, :2] = 2
            samples.append(Sample(image, save_image(tmp_path / f"{index}.png", mask)))
        classes = tuple(ClassInfo(name, value) for value, name in enumerate(("road", "car", "sign")))
        return Dataset("segmentation", classes, tuple(samples), tuple(samples[:1]))

    @staticmethod
    def found(dataset: Dataset, **settings: str) -> tuple[float, ...] | None:
        checked = inspect(dataset, DataOptions(checked_pictures=5))
        assert checked.report.checked["train"] < 60
        asked, world = parse(settings), World()
        partition = DataPartition.shared(checked.dataset, world, 0)
        seen, masks_read = count_training_masks(asked, checked, partition, world)
        return class_weights(asked, checked.dataset, seen, masks_read)

    def test_balanced_weights_are_of_all_masks(self, dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        pixels = np.array([60 * 50 - 4, 60 * 50, 4])
        expected = pixels.sum() / (3 * pixels)
        assert self.found(dataset, class_weights="balanced") == pytest.approx(tuple(expected))
        assert "Counted the classes in 60 of 60 masks" in caplog.text
        assert "estimated" not in caplog.text

    def test_effective_weights_are_of_all_masks(self, dataset: Dataset) -> None:
        beta = 0.9
        raw = np.array([(1 - beta) / (1 - beta**count) for count in (60, 60, 1)])
        found = self.found(dataset, class_weights="effective", effective_number_beta=str(beta))
        assert found == pytest.approx(tuple(raw / raw.mean()))

    def test_of_very_many_an_even_selection_is_read(
        self, dataset: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level("INFO")
        monkeypatch.setattr(class_weights_module, "MOST_MASKS", 20)
        self.found(dataset, class_weights="balanced")
        assert "Counted the classes in 20 of 60 masks" in caplog.text
        assert "estimated from 20 of 60 training masks" in caplog.text

    def test_nothing_is_read_without_need(self, dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        assert self.found(dataset, class_weights="1, 2, 3") == (1.0, 2.0, 3.0)
        assert self.found(dataset) is None
        assert "Counted" not in caplog.text

    def test_masks_that_cannot_be_read_are_named_or_left_out(self, dataset: Dataset) -> None:
        Path(str(dataset.train[40].mask)).write_bytes(b"no image")
        with pytest.raises(DataError, match=r"(?s)1 of 60 masks cannot be read:.*40\.png"):
            self.found(dataset, class_weights="balanced")
        pixels = np.array([59 * 50 - 4, 59 * 50, 4])
        found = self.found(dataset, class_weights="balanced", on_bad_sample="skip")
        assert found == pytest.approx(tuple(pixels.sum() / (3 * pixels)))
