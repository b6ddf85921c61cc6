from __future__ import annotations

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.disks import files_of_at_most

from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.cache import ImageCache, Place, open_cache
from byoc_vision.data.cache.images import Runs, bytes_needed, cache_key, decode_runs, encode_runs, fingerprint
from byoc_vision.data.crops import RandomCrop
from byoc_vision.data.image_dataset import EvaluationDataset, Example, ImageDataset
from byoc_vision.data.loaders import build_evaluation_loader, build_training_loader
from byoc_vision.data.samples import ByteRange, Dataset, MaskMap, Sample
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo

COUNT = 12
CLASSES = (ClassInfo("a", 0), ClassInfo("b", 100), ClassInfo("c", 7))
LETTERBOX = Preprocess(height=16, width=24, resize="letterbox")
CUT = Preprocess(height=16, width=16, resize="short_side", short_side=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of noise of different sizes, and masks of noise, of stripes and of one value."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(COUNT):
        random = np.random.default_rng(index)
        height, width = 20 + index, 44 - index
        cv2.imwrite(str(folder / f"{index}.png"), random.integers(0, 256, (height, width, 3), np.uint8))
        mask = random.choice(np.array([0, 100, 7, 255], np.uint8), (height, width))
        if index % 3:
            mask[:] = mask[0] if index % 3 == 1 else 7
        cv2.imwrite(str(folder / f"{index}_mask.png"), mask)
    return folder


@pytest.fixture
def masked(folder: Path) -> Dataset:
    return dataset_of(
        tuple(Sample(folder / f"{index}.png", mask=folder / f"{index}_mask.png") for index in range(COUNT))
    )


@pytest.fixture
def labelled(folder: Path) -> Dataset:
    """Images that are slices of one file."""
    joined, samples = folder / "joined.bin", []
    for index in range(COUNT):
        content = (folder / f"{index}.png").read_bytes()
        offset = joined.stat().st_size if joined.exists() else 0
        with joined.open("ab") as file:
            file.write(content)
        samples.append(Sample(ByteRange(joined, offset, len(content), f"record {index}"), label=index % 3))
    return dataset_of(tuple(samples))


def dataset_of(samples: tuple[Sample, ...]) -> Dataset:
    task = "classification" if samples[0].mask is None else "segmentation"
    return Dataset(task, CLASSES, samples[:8], samples[8:])  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "disk").mkdir()
    return Place(tmp_path / "disk", 10**7)


def opened(dataset: Dataset, rule: Preprocess, place: Place, generation: int = 1) -> ImageCache:
    cache = open_cache(dataset, rule, place, generation)
    assert cache is not None
    return cache


def training(
    dataset: Dataset, rule: Preprocess, cache: ImageCache | None, workers: int = 0, epochs: int = 3, **options: object
) -> list[Example]:
    images = ImageDataset(
        dataset.train,
        CLASSES,
        rule,
        build_augmentation("light", dataset.task),
        cache=cache.train if cache else None,
        **options,  # type: ignore[arg-type]
    )
    loader = build_training_loader(images, 4, workers=workers)
    batches = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        batches += list(loader)
    return batches


def evaluation(dataset: Dataset, rule: Preprocess, cache: ImageCache | None, workers: int = 0) -> list[list[object]]:
    images = EvaluationDataset(dataset.validation, CLASSES, rule, cache=cache.validation if cache else None)
    loader = build_evaluation_loader(images, 2, workers=workers)
    return [
        [batch.images.tolist(), batch.heights, batch.widths, [target.tolist() for target in batch.targets]]
        for _ in range(2)
        for batch in loader
    ]


def assert_same(ones: list[Example], others: list[Example]) -> None:
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


class TestTheSameExamples:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_segmentation(self, masked: Dataset, place: Place, workers: int) -> None:
        cache = opened(masked, LETTERBOX, place)
        assert_same(training(masked, LETTERBOX, cache, workers), training(masked, LETTERBOX, None))
        assert evaluation(masked, LETTERBOX, cache, workers) == evaluation(masked, LETTERBOX, None)

    def test_crops(self, masked: Dataset, place: Place) -> None:
        cache = opened(masked, LETTERBOX, place)
        whole = training(masked, LETTERBOX, None, crop=RandomCrop(8, 8))
        assert_same(training(masked, LETTERBOX, cache, crop=RandomCrop(8, 8)), whole)
        assert whole[0].image.shape == (4, 3, 8, 8)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_classification_of_slices_with_random_cuts(self, labelled: Dataset, place: Place, workers: int) -> None:
        cache = opened(labelled, CUT, place)
        assert_same(training(labelled, CUT, cache, workers), training(labelled, CUT, None))
        assert evaluation(labelled, CUT, cache, workers) == evaluation(labelled, CUT, None)

    def test_many_labels(self, folder: Path, place: Place) -> None:
        several = dataset_of(tuple(Sample(folder / f"{index}.png", labels=(0, 2)) for index in range(COUNT)))
        several = replace(several, multi_label=True)
        cache = opened(several, CUT, place)
        assert_same(training(several, CUT, cache), training(several, CUT, None))

    def test_labels_come_from_the_list_of_samples(self, labelled: Dataset, place: Place) -> None:
        training(labelled, CUT, opened(labelled, CUT, place))
        relabelled = replace(labelled, train=tuple(replace(sample, label=1) for sample in labelled.train))
        seen = training(relabelled, CUT, opened(relabelled, CUT, place, generation=2))
        assert {label for batch in seen for label in batch.target.tolist()} == {1}


class TestFilesAreReadOnce:
    def test_from_the_second_epoch_on_the_files_are_not_needed(
        self, masked: Dataset, folder: Path, place: Place
    ) -> None:
        cache = opened(masked, LETTERBOX, place)
        expected = training(masked, LETTERBOX, cache), evaluation(masked, LETTERBOX, cache)
        shutil.rmtree(folder)
        assert_same(training(masked, LETTERBOX, cache), expected[0])
        assert evaluation(masked, LETTERBOX, cache) == expected[1]

    def test_what_a_killed_job_left_is_used(self, masked: Dataset, folder: Path, place: Place) -> None:
        expected = training(masked, LETTERBOX, opened(masked, LETTERBOX, place))  # never closed
        used = opened(masked, LETTERBOX, place, generation=2)
        size = used.store.used
        assert_same(training(masked, LETTERBOX, used), expected)
        assert used.store.used == size

    def test_a_bad_sample_is_treated_as_without_a_cache(self, masked: Dataset, folder: Path, place: Place) -> None:
        whole = (folder / "3.png").read_bytes()
        (folder / "3.png").write_bytes(whole[:-30])
        cache = opened(masked, LETTERBOX, place)
        with pytest.raises(DataError, match=r"3\.png is cut short"):
            training(masked, LETTERBOX, cache)
        skipped = training(masked, LETTERBOX, cache, on_bad_sample="skip")
        assert_same(skipped, training(masked, LETTERBOX, None, on_bad_sample="skip"))
        (folder / "3.png").write_bytes(whole)
        assert_same(training(masked, LETTERBOX, cache), training(masked, LETTERBOX, None))


class TestChanges:
    def test_a_changed_image_is_seen_by_the_next_job(self, masked: Dataset, folder: Path, place: Place) -> None:
        training(masked, LETTERBOX, opened(masked, LETTERBOX, place))
        cv2.imwrite(str(folder / "2.png"), np.full((22, 42, 3), 9, np.uint8))
        changed = training(masked, LETTERBOX, opened(masked, LETTERBOX, place, generation=2))
        assert_same(changed, training(masked, LETTERBOX, None))

    def test_the_fingerprint_follows_image_mask_time_and_map(self, masked: Dataset, folder: Path) -> None:
        sample = masked.train[0]
        seen = {fingerprint(sample)}
        for path in (folder / "0.png", folder / "0_mask.png"):
            os.utime(path, ns=(1, 2_000_000_001))
            seen.add(fingerprint(sample))
        (folder / "0.png").write_bytes((folder / "1.png").read_bytes())
        os.utime(folder / "0.png", ns=(1, 2_000_000_001))
        seen.add(fingerprint(sample))
        seen.add(fingerprint(replace(sample, mask_map=MaskMap("map.json", ((0, 100),)))))
        assert len(seen) == 5
        assert fingerprint(sample) == fingerprint(replace(sample, group="other"))

    def test_another_size_or_rule_is_another_cache(self, masked: Dataset, place: Place) -> None:
        keys = {
            cache_key((masked.train, masked.validation), CLASSES, rule)
            for rule in (LETTERBOX, CUT, *(LETTERBOX.model_copy(update={"width": width}) for width in (25, 26)))
        }
        keys.add(cache_key((masked.train, masked.validation), CLASSES[::-1], LETTERBOX))
        keys.add(cache_key((masked.train[:-1], masked.validation), CLASSES, LETTERBOX))
        keys.add(cache_key((masked.train, masked.validation), CLASSES, LETTERBOX, frozenset({0, 100, 7})))
        keys.add(cache_key((masked.train, masked.validation), CLASSES, LETTERBOX.model_copy(update={"per_axis": True})))
        assert len(keys) == 8
        other_mean = LETTERBOX.model_copy(update={"mean": (0.1, 0.2, 0.3)})
        assert cache_key((masked.train, masked.validation), CLASSES, other_mean) in keys
        training(masked, LETTERBOX, opened(masked, LETTERBOX, place))
        larger = Preprocess(height=20, width=20)
        assert_same(training(masked, larger, opened(masked, larger, place)), training(masked, larger, None))


class TestRoom:
    def test_a_part_is_kept_where_there_is_room_for_a_part(self, masked: Dataset, place: Place) -> None:
        cache = opened(masked, LETTERBOX, replace(place, capacity=4_000))
        assert_same(training(masked, LETTERBOX, cache), training(masked, LETTERBOX, None))
        assert cache.is_full
        assert 0 < cache.store.used <= 4_000
        assert sum(path.stat().st_size for path in cache.folder.path.iterdir()) < 4_000 + 100 * COUNT

    @pytest.mark.parametrize("workers", [0, 2])
    def test_with_a_full_disk_the_job_goes_on(
        self, masked: Dataset, place: Place, workers: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = opened(masked, LETTERBOX, place)
        with files_of_at_most(6_000):
            seen = training(masked, LETTERBOX, cache, workers)
        assert_same(seen, training(masked, LETTERBOX, None))
        assert cache.is_full
        assert cache.store.used > 0
        assert workers or caplog.text.count("Cannot store more decoded images") == 1

    def test_no_room_at_all(self, masked: Dataset, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        assert open_cache(masked, LETTERBOX, replace(place, capacity=100), 1) is None
        assert "No room for decoded images" in caplog.text
        assert open_cache(masked, LETTERBOX, None, 1) is None

    def test_a_folder_that_cannot_be_written(
        self, masked: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        assert open_cache(masked, LETTERBOX, Place(tmp_path / "file", 10**6), 1) is None
        assert "Cannot keep decoded images in" in caplog.text

    def test_it_says_what_it_keeps(self, masked: Dataset, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        opened(masked, LETTERBOX, place).close()
        opened(masked, LETTERBOX, replace(place, capacity=4_000)).close()
        assert [text for *_, text in caplog.record_tuples] == [
            f"Decoded images are kept in {place.folder}: about 1.4e-05 GB",
            f"Decoded images are kept in {place.folder}, 4e-06 GB of about 1.4e-05; the others are decoded in each "
            "epoch. cache_gb raises the limit, cache=disk takes half of the free disk",
        ]

    def test_what_will_be_needed(self, masked: Dataset, place: Place) -> None:
        cache = opened(masked, LETTERBOX, place)
        training(masked, LETTERBOX, cache, epochs=1)
        evaluation(masked, LETTERBOX, cache)
        assert cache.store.used == pytest.approx(bytes_needed(COUNT, LETTERBOX, masks=True), rel=0.4)


def test_closing_removes_the_files(masked: Dataset, place: Place) -> None:
    cache = opened(masked, LETTERBOX, place)
    training(masked, LETTERBOX, cache, workers=2)
    cache.close()
    assert [path.name for path in cache.folder.root.iterdir()] == ["lock"]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 256), st.integers(0, 2**16))
def test_a_mask_comes_back(height: int, width: int, values: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, values, (height, width)).astype(np.uint8)
    restored = decode_runs(encode_runs(mask), height, width)
    np.testing.assert_array_equal(restored, mask)
    assert restored.dtype == np.uint8


def test_a_mask_of_one_object_is_small() -> None:
    mask = np.zeros((1280, 1918), np.uint8)
    mask[300:900, 400:1500] = 1
    assert encode_runs(mask).nbytes < mask.nbytes / 300


def test_runs_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        decode_runs(Runs(np.array([3], np.uint32), np.array([1], np.uint8)), 2, 2)
