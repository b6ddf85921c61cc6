"""All bad files by name, before training; and the classes of a segmentation."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support.images import save_image

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight import CheckedDataset, check, inspect
from byoc_vision.data.samples import DataOptions, Dataset, MaskOrientation, Sample
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo


def grey(height: int, width: int, value: int = 0) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def half(height: int, width: int, value: int = 1) -> np.ndarray:
    """A mask whose right half has the value."""
    mask = grey(height, width)
    mask[:, width // 2 :] = value
    return mask


ORIENTATIONS: tuple[MaskOrientation, ...] = ("stored", "upright")


def save_turned(path: Path, pixels: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """Four good training samples and one for validation; classes 0 and 1."""
    for index in range(4):
        save_image(tmp_path / f"train/{index}.jpg", grey(20, 30 + index, 90))
        save_image(tmp_path / f"train_annotation/{index}.png", half(20, 30 + index))
    save_image(tmp_path / "validation/v.jpg", grey(40, 60, 90))
    save_image(tmp_path / "validation_annotation/v.png", half(40, 60))
    return tmp_path


def run(root: Path, options: DataOptions | None = None) -> CheckedDataset:
    options = options or DataOptions()
    return check(find_dataset({path.name: path for path in root.iterdir()}, options), options)


class TestSegmentation:
    def test_classes_and_statistics(self, masked: Path) -> None:
        dataset, report = run(masked)
        assert dataset.classes == (ClassInfo("background", 0), ClassInfo("foreground", 1))
        assert dataset.ignore_value == 255
        assert report.samples == {"train": 4, "validation": 1}
        assert (report.width.minimum, report.width.median, report.width.maximum) == (30, 32, 60)
        assert (report.height.minimum, report.height.median, report.height.maximum) == (20, 20, 40)
        assert [entry.images for entry in report.classes] == [{"train": 4, "validation": 1}] * 2
        assert sum(entry.pixel_share or 0 for entry in report.classes) == pytest.approx(1, abs=1e-5)
        assert report.classes[1].pixel_share == pytest.approx(0.5, abs=0.02)
        assert report.seconds >= 0

    def test_ignored_pixels_have_no_share(self, masked: Path) -> None:
        mask = half(20, 30, 2)
        mask[:10] = 255
        save_image(masked / "train_annotation/0.png", mask)
        dataset, report = run(masked)
        assert [entry.value for entry in dataset.classes] == [0, 1, 2]
        assert sum(entry.pixel_share or 0 for entry in report.classes) == pytest.approx(1, abs=1e-5)
        assert report.classes[2].images == {"train": 1, "validation": 0}

    def test_the_report_is_json(self, masked: Path) -> None:
        content = json.loads(json.dumps(run(masked).report.as_dict()))
        assert content["classes"][0]["name"] == "background"
        assert content["height"] == {"minimum": 20, "median": 20, "maximum": 40}

    def test_the_log_says_what_was_seen(self, masked: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            run(masked)
        assert "checked     5 images (4 train, 1 validation) in" in caplog.text
        assert "sizes       width 30–60 (median 32), height 20–40 (median 20) pixels" in caplog.text
        assert re.search(r"foreground +1 +4 +1 +50\.\d%", caplog.text)

    def test_every_offender_is_named_at_once(self, masked: Path) -> None:
        (masked / "train/0.jpg").write_bytes((masked / "train/0.jpg").read_bytes()[:-40])
        (masked / "train_annotation/1.png").write_text("this is not a mask")
        save_image(masked / "train_annotation/2.png", half(20, 31))
        save_image(masked / "validation_annotation/v.png", half(40, 60, 9))
        with pytest.raises(DataError) as raised:
            run(masked)
        text = str(raised.value)
        assert "3 of 5 samples cannot be used; fix them, or leave them out with on_bad_sample=skip:" in text
        assert f"{masked}/train/0.jpg is cut short" in text
        assert f"{masked}/train_annotation/1.png is not a JPEG" in text
        assert f"{masked}/train_annotation/2.png has 31 × 20 pixels, its image 2.jpg has 32 × 20" in text
        assert f"{masked}/validation_annotation/v.png: 9" in text

    def test_values_above_num_classes_are_named(self, masked: Path) -> None:
        save_image(masked / "train_annotation/3.png", half(20, 33, 7))
        with pytest.raises(DataError, match=r"(?s)values outside 0–1 .*train_annotation/3\.png: 7"):
            run(masked, DataOptions(num_classes=2))

    def test_masks_saved_as_jpeg(self, masked: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 200, (20, 30), dtype=np.uint8)
        (masked / "train_annotation/0.png").unlink()
        save_image(masked / "train_annotation/0.jpg", noise)
        with pytest.raises(DataError, match=r"1 of 4 masks are saved with loss, such as .*0\.jpg"):
            run(masked)

    @pytest.mark.parametrize("as_shown", [True, False])
    def test_a_mask_of_a_turned_image(self, masked: Path, as_shown: bool) -> None:
        """Drawn over the upright image or over the stored pixels: the size tells."""
        save_turned(masked / "train/0.jpg", grey(20, 30), 6)
        save_image(masked / "train_annotation/0.png", half(30, 20) if as_shown else half(20, 30))
        report = run(masked).report
        assert report.height is not None
        assert report.height.maximum == 40
        assert not any("mask_orientation" in warning for warning in report.warnings)

    @pytest.mark.parametrize(("size", "orientation"), [((40, 60), 3), ((40, 40), 6), ((40, 60), 2)])
    def test_an_orientation_that_the_size_does_not_tell(
        self, masked: Path, size: tuple[int, int], orientation: int
    ) -> None:
        save_turned(masked / "train/0.jpg", grey(*size), orientation)
        save_image(masked / "train_annotation/0.png", half(*size))
        warnings = [one for one in run(masked).report.warnings if "mask_orientation=stored" in one]
        assert len(warnings) == 1
        assert "1 images are turned by EXIF" in warnings[0]
        assert f"{masked}/train/0.jpg" in warnings[0]
        for chosen in ORIENTATIONS:
            assert not any("EXIF" in one for one in run(masked, DataOptions(mask_orientation=chosen)).report.warnings)

    def test_an_image_declared_too_large(self, masked: Path) -> None:
        data = bytearray(cv2.imencode(".bmp", grey(20, 30))[1].tobytes())
        data[18:26] = (60_000).to_bytes(4, "little") * 2
        (masked / "train/0.jpg").write_bytes(data)
        with pytest.raises(DataError, match=r"0\.jpg declares 60000 × 60000 pixels"):
            run(masked)

    def test_where_no_mask_can_be_read(self, masked: Path) -> None:
        for path in (masked / "train_annotation").iterdir():
            path.write_bytes(b"")
        with pytest.raises(DataError, match="4 of 5 samples cannot be used"):
            run(masked)

    @pytest.mark.parametrize("workers", [1, 3])
    def test_any_number_of_workers_sees_the_same(self, masked: Path, workers: int) -> None:
        dataset = find_dataset({path.name: path for path in masked.iterdir()}, DataOptions())
        checked = check(dataset, DataOptions(), workers=workers)
        assert checked.dataset == run(masked).dataset
        assert checked.report.classes == run(masked).report.classes


class TestClassification:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> Path:
        for name, count in (("cat", 2), ("dog", 3)):
            for index in range(count):
                save_image(tmp_path / f"train/{name}/{index}.png", grey(8, 9))
        save_image(tmp_path / "validation/dog/v.png", grey(8, 9))
        return tmp_path

    def test_images_are_counted_by_class(self, folders: Path) -> None:
        dataset, report = run(folders, DataOptions(num_classes=2))
        assert dataset.class_names == ("cat", "dog")
        assert dataset.ignore_value is None
        assert [entry.images for entry in report.classes] == [
            {"train": 2, "validation": 0},
            {"train": 3, "validation": 1},
        ]
        assert report.classes[0].pixel_share is None

    def test_a_wrong_number_of_classes(self, folders: Path) -> None:
        with pytest.raises(InputError, match=r"num_classes is 3, but the data have 2 classes \(cat, dog\); leave"):
            run(folders, DataOptions(num_classes=3))

    @pytest.mark.parametrize(("count", "warned"), [(5, False), (4, True), (None, False)])
    def test_a_wrong_number_of_samples_is_a_warning(
        self, folders: Path, caplog: pytest.LogCaptureFixture, count: int | None, warned: bool
    ) -> None:
        run(folders, DataOptions(num_training_samples=count))
        assert (f"num_training_samples is {count}, found and used: 5" in caplog.text) == warned

    def test_a_text_file_named_png(self, folders: Path) -> None:
        (folders / "train/cat/0.png").write_text("hello")
        with pytest.raises(DataError, match=r"(?s)1 of 6 samples.*cat/0\.png is not a .*the text 'hello'"):
            run(folders)

    def test_offenders_are_named_up_to_a_limit(self, tmp_path: Path) -> None:
        for index in range(30):
            path = tmp_path / f"{index}.png"
            path.write_bytes(b"")
        samples = tuple(Sample(path, label=0) for path in sorted(tmp_path.iterdir()))
        with pytest.raises(DataError, match=r"(?s)30 of 30 samples.*… and 10 more"):
            check(Dataset("classification", (ClassInfo("a"),), samples, ()), DataOptions())


class TestBudget:
    """What a job reads before its first step is bounded; what is cheap is done for all samples."""

    COUNT = 60

    @pytest.fixture
    def images(self, tmp_path: Path) -> list[Path]:
        return [save_image(tmp_path / f"{index}.jpg", grey(8, 9 + index % 4, index)) for index in range(self.COUNT)]

    @staticmethod
    def dataset(images: list[Path]) -> Dataset:
        samples = [Sample(path, label=index % 2) for index, path in enumerate(images)]
        classes = (ClassInfo("cat"), ClassInfo("dog"))
        return Dataset("classification", classes, tuple(samples[:50]), tuple(samples[50:]))

    @staticmethod
    def tenth(images: list[Path]) -> DataOptions:
        return DataOptions(checking_budget=sum(path.stat().st_size for path in images) // 10)

    def test_a_set_within_it_is_read_as_a_whole(self, images: list[Path]) -> None:
        options = DataOptions(checking_budget=sum(path.stat().st_size for path in images))
        assert not inspect(self.dataset(images), options).report.is_sampled

    def test_a_larger_set_is_read_in_part(self, images: list[Path], caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            dataset, report = check(self.dataset(images), self.tenth(images))
        assert dataset == self.dataset(images)
        assert report.checked == {"train": 5, "validation": 1}
        assert "checked   6 of 60 images (5 train, 1 validation) in" in caplog.text
        assert [entry.images for entry in report.classes] == [{"train": 25, "validation": 5}] * 2

    def test_a_number_of_images_overrules_it(self, images: list[Path]) -> None:
        options = replace(self.tenth(images), checked_pictures=40)
        assert sum(inspect(self.dataset(images), options).report.checked.values()) == 40

    @pytest.mark.parametrize("options", [None, DataOptions(checked_pictures=2)], ids=["budget", "number"])
    def test_empty_and_missing_files_are_all_named(self, images: list[Path], options: DataOptions | None) -> None:
        options = options or self.tenth(images)
        empty, gone = images[10:14], images[55]
        for path in empty:
            path.write_bytes(b"")
        gone.unlink()
        with pytest.raises(DataError) as raised:
            check(self.dataset(images), options)
        for path in empty:
            assert f"{path} is not a JPEG" in str(raised.value)
        assert f"{gone} cannot be read: No such file" in str(raised.value)
        used = check(self.dataset(images), replace(options, on_bad_sample="skip")).dataset
        assert [len(used.train), len(used.validation)] == [46, 9]

    def test_what_is_found_bad_has_all_read(self, images: list[Path]) -> None:
        """The empty file is found among all; the damaged one is then found too, wherever it lies."""
        images[3].write_bytes(b"")
        damaged = [path for path in images[20:30] if path.write_bytes(path.read_bytes()[:-9])]
        with pytest.raises(DataError, match="11 of 60 samples") as raised:
            check(self.dataset(images), self.tenth(images))
        assert all(f"{path} is cut short" in str(raised.value) for path in damaged)

    def test_copies_are_found_among_all(self, images: list[Path], tmp_path: Path) -> None:
        for source, target in ((images[7], images[54]), (images[20], images[31]), (images[8], images[10])):
            target.write_bytes(source.read_bytes())
        report = inspect(self.dataset(images), self.tenth(images)).report
        found = report.duplicates
        assert report.is_sampled
        assert set(found.across) == {(str(images[7]), str(images[54]))}
        assert (str(images[20]), str(images[31])) in found.contradicting
        assert found.within == 2
        assert found.uncompared == 0

    def test_classes_that_only_other_masks_show(self, tmp_path: Path) -> None:
        """A part whose training masks lack a class of its validation masks is not a reason to refuse the whole."""
        image = save_image(tmp_path / "p.jpg", grey(20, 30, 90))
        plain, rare = (
            save_image(tmp_path / "plain.png", half(20, 30)),
            save_image(tmp_path / "rare.png", half(20, 30, 2)),
        )
        train = tuple(Sample(image, rare if index == 29 else plain) for index in range(30))
        options = DataOptions(checking_budget=4 * image.stat().st_size)
        dataset, report = check(Dataset("segmentation", (), train, (Sample(image, rare),)), options)
        assert [entry.value for entry in dataset.classes] == [0, 1, 2]
        assert not report.is_sampled

    @pytest.mark.parametrize(("options", "classes"), [({}, 4), ({"num_classes": 4}, 4)], ids=["seen", "given"])
    def test_one_of_many_classes_that_few_masks_show(
        self, tmp_path: Path, options: dict[str, int], classes: int
    ) -> None:
        image = save_image(tmp_path / "p.jpg", grey(20, 30, 90))
        usual = half(20, 30)
        usual[:10, 15:] = 2
        common, rare = save_image(tmp_path / "common.png", usual), save_image(tmp_path / "rare.png", half(20, 30, 3))
        train = tuple(Sample(image, rare if index == 29 else common) for index in range(30))
        dataset = Dataset("segmentation", (), train, (Sample(image, common),))
        checked = inspect(dataset, DataOptions(checking_budget=4 * image.stat().st_size, **options))
        assert len(checked.dataset.classes) == classes
        assert checked.report.is_sampled == bool(options)


@pytest.mark.real_data
class TestRealData:
    @staticmethod
    def checked(folder: Path, options: DataOptions) -> CheckedDataset:
        return run(folder, options)

    def test_carvana(self, shared_data: Path) -> None:
        dataset, report = self.checked(shared_data / "carvana", DataOptions())
        assert dataset.classes == (ClassInfo("background", 0), ClassInfo("foreground", 1))
        assert (report.height.maximum, report.width.maximum) == (1280, 1918)
        assert report.classes[1].pixel_share == pytest.approx(0.2, abs=0.05)

    def test_camvid(self, shared_data: Path) -> None:
        dataset, report = self.checked(shared_data / "camvid", DataOptions(ignore_index=11))
        assert [entry.value for entry in dataset.classes] == list(range(11))
        assert dataset.ignore_value == 11
        assert report.samples == {"train": 367, "validation": 101}
        assert self.checked(shared_data / "camvid", DataOptions(num_classes=11, ignore_index=11)).dataset == dataset

    def test_clothing(self, shared_data: Path) -> None:
        _, report = self.checked(shared_data / "clothing", DataOptions(num_classes=10))
        assert sum(entry.images["train"] for entry in report.classes) == 3068
        assert report.height.maximum == 288
