"""From samples to batches."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from byoc_vision.data.augmentation import AugmentationName, build_augmentation
from byoc_vision.data.crops import RandomCrop
from byoc_vision.data.image_dataset import EvaluationDataset, Example, ImageDataset
from byoc_vision.data.loaders import EvaluationBatch, build_evaluation_loader, build_training_loader
from byoc_vision.data.preprocessed import DecodedImages, class_index_table
from byoc_vision.data.samplers import EvaluationSampler, Natural, SampleKey, TrainingSampler
from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError
from byoc_vision.preprocess import IGNORED, Preprocess
from byoc_vision.types import ClassInfo, Task

COUNT = 11
CLASSES = (ClassInfo("a", 0), ClassInfo("b", 100), ClassInfo("c", 7))
RULE = Preprocess(height=16, width=24, resize="letterbox")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of different sizes, each of its own grey, with masks of 0, 100, 7 and 255."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(COUNT):
        height, width = 20 + index, 40 - index
        cv2.imwrite(str(folder / f"{index}.png"), np.full((height, width, 3), 20 * index + 10, np.uint8))
        mask = np.zeros((height, width), np.uint8)
        mask[:, 10:20], mask[:, 20:25], mask[:, 25:] = 100, 7, 255
        cv2.imwrite(str(folder / f"{index}_mask.png"), mask)
    return folder


@pytest.fixture
def masked(images: Path) -> list[Sample]:
    return [Sample(images / f"{index}.png", mask=images / f"{index}_mask.png") for index in range(COUNT)]


@pytest.fixture
def labelled(images: Path) -> list[Sample]:
    return [Sample(images / f"{index}.png", label=index % 3) for index in range(COUNT)]


def training(samples: list[Sample], augmentation: AugmentationName = "none", seed: int = 0) -> ImageDataset:
    task: Task = "classification" if samples[0].mask is None else "segmentation"
    return ImageDataset(samples, CLASSES, RULE, build_augmentation(augmentation, task), seed)


def evaluation(samples: list[Sample]) -> EvaluationDataset:
    return EvaluationDataset(samples, CLASSES, RULE)


class TestImageDataset:
    def test_segmentation(self, masked: list[Sample]) -> None:
        image, target = training(masked)[3]
        assert (image.shape, image.dtype) == ((3, 16, 24), torch.uint8)
        assert (target.shape, target.dtype) == ((16, 24), torch.uint8)
        assert set(target.unique().tolist()) == {0, 1, 2, IGNORED}
        assert image.is_contiguous()

    def test_the_letterboxs_border_is_ignored(self, images: Path) -> None:
        sample = Sample(images / "0.png", mask=images / "0_mask.png")  # 20 × 40 into 16 × 24
        image, target = training([sample])[0]
        assert (target[:2] == IGNORED).all()
        assert (image[:, :2] == 0).all()
        assert (target[2:14, 0] == 0).all()

    def test_classification(self, labelled: list[Sample]) -> None:
        dataset = training(labelled)
        image, target = dataset[4]
        assert (target.shape, target.dtype, target.item()) == ((), torch.int64, 1)
        assert image.max() == 20 * 4 + 10
        assert len(dataset) == COUNT

    def test_multi_label(self, images: Path) -> None:
        for labels, expected in (((0, 2), [1, 0, 1]), ((), [0, 0, 0])):
            target = training([Sample(images / "0.png", labels=labels)])[0].target
            assert target.dtype == torch.uint8
            assert target.tolist() == expected

    def test_a_mask_of_another_size_is_named(self, images: Path) -> None:
        sample = Sample(images / "3.png", mask=images / "4_mask.png")
        with pytest.raises(DataError, match=r"4_mask\.png has 36 × 24 pixels, its image 3\.png has 37 × 23"):
            training([sample])[0]

    def test_crops_are_parts_of_image_and_mask_at_random_places(self, masked: list[Sample]) -> None:
        whole = ImageDataset(masked, CLASSES, RULE, build_augmentation("none", "segmentation"))[0]
        cropped = ImageDataset(
            masked, CLASSES, RULE, build_augmentation("none", "segmentation"), crop=RandomCrop(8, 16)
        )
        assert cropped.size == (8, 16)
        both = torch.cat([whole.image, whole.target[None]]).numpy()
        parts = {both[:, top : top + 8, left : left + 16].tobytes() for top in range(9) for left in range(9)}
        examples = [cropped[SampleKey(0, epoch)] for epoch in range(30)]
        cut = [torch.cat([image, target[None]]).numpy().tobytes() for image, target in examples]
        assert set(cut) <= parts
        assert len(set(cut)) > 5
        torch.testing.assert_close(cropped[SampleKey(0, 7)], examples[7])

    def test_the_short_sides_cut_is_anywhere_in_training_and_in_the_middle_later(self, tmp_path: Path) -> None:
        ramp = np.arange(0, 240, 4, dtype=np.uint8)[None, :, None].repeat(30, 0).repeat(3, 2)  # 30 × 60
        cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
        samples = [Sample(tmp_path / "ramp.png", label=0)]
        rule = Preprocess(height=16, width=16, resize="short_side", short_side=20)
        dataset = ImageDataset(samples, CLASSES, rule, build_augmentation("none", "classification"))
        lefts = {int(dataset[SampleKey(0, epoch)].image[0, 0, 0]) for epoch in range(20)}
        assert len(lefts) > 5
        middle = EvaluationDataset(samples, CLASSES, rule)[0].image
        assert torch.equal(middle, torch.from_numpy(rule.image(ramp)).permute(2, 0, 1))

    def test_randomness_depends_on_seed_epoch_and_sample_alone(self, masked: list[Sample]) -> None:
        first = training(masked, "light")[SampleKey(2, epoch=1)]
        for other in (training(masked, "light"), training(masked, "light")):
            assert other[SampleKey(5, epoch=0)].image.shape == first.image.shape
            torch.testing.assert_close(other[SampleKey(2, epoch=1)], first, rtol=0, atol=0)
        assert any(
            not torch.equal(training(masked, "light", seed)[SampleKey(2, epoch)].target, first.target)
            for seed, epoch in ((0, 2), (0, 3), (1, 1))
        )

    def test_a_sample_without_a_target_is_an_internal_error(self, images: Path) -> None:
        with pytest.raises(ValueError, match="neither a mask nor a label"):
            training([Sample(images / "0.png")])[0]


class TestEvaluationDataset:
    def test_the_target_keeps_the_images_size(self, masked: list[Sample]) -> None:
        example = evaluation(masked)[5]
        assert example.image.shape == (3, 16, 24)
        assert (example.height, example.width) == (25, 35)
        assert (example.target.shape, example.target.dtype) == ((25, 35), np.uint8)
        assert Counter(example.target[0].tolist()) == {0: 10, 1: 10, 2: 5, IGNORED: 10}
        assert example.sample_index == 5

    def test_labels(self, labelled: list[Sample]) -> None:
        example = evaluation(labelled)[5]
        assert (example.target.shape, int(example.target)) == ((), 2)

    def test_the_input_is_what_training_sees(self, masked: list[Sample]) -> None:
        torch.testing.assert_close(evaluation(masked)[1].image, training(masked)[1].image)


@given(st.lists(st.integers(0, 255), unique=True, min_size=1, max_size=254))
def test_every_value_has_its_index_and_others_are_ignored(values: list[int]) -> None:
    table = class_index_table([ClassInfo(str(value), value) for value in values])
    assert table[values].tolist() == list(range(len(values)))
    assert set(np.delete(table, values).tolist()) <= {IGNORED}


@given(st.lists(st.integers(0, 255), unique=True, min_size=1, max_size=255), st.integers(0, 255))
def test_values_that_a_mask_may_not_hold_have_the_index_behind_the_last_class(values: list[int], ignored: int) -> None:
    table = class_index_table([ClassInfo(str(value), value) for value in values], frozenset({*values, ignored}))
    assert table[values].tolist() == list(range(len(values)))
    assert ignored in values or table[ignored] == IGNORED
    assert set(np.delete(table, [*values, ignored]).tolist()) <= {len(values)}


class TestMaskValues:
    """A mask that was not read before training may hold what no class has."""

    ALLOWED = frozenset({0, 1, 9})

    @staticmethod
    def fitted(folder: Path, mask: np.ndarray, allowed: frozenset[int] | None) -> np.ndarray:
        cv2.imwrite(str(folder / "p.png"), np.zeros((*mask.shape, 3), np.uint8))
        cv2.imwrite(str(folder / "m.png"), mask)
        samples = [Sample(folder / "p.png", folder / "m.png")]
        classes = (ClassInfo("a", 0), ClassInfo("b", 1))
        return DecodedImages(samples, classes, RULE, for_training=False, mask_values=allowed).read(0).target

    @given(npst.arrays(np.uint8, (3, 5), elements=st.sampled_from([0, 1, 9, 2, 200])))
    @settings(max_examples=40)
    def test_it_is_refused_by_name_and_otherwise_read(self, mask: np.ndarray) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            strange = sorted(set(mask.ravel().tolist()) - self.ALLOWED)
            ignored = self.fitted(folder, mask, None)
            np.testing.assert_array_equal(ignored, np.where(mask > 1, IGNORED, mask))
            if not strange:
                np.testing.assert_array_equal(self.fitted(folder, mask, self.ALLOWED), ignored)
                return
            shown = ", ".join(map(str, strange))
            with pytest.raises(DataError, match=rf"m\.png holds {shown}, neither a class nor ignored"):
                self.fitted(folder, mask, self.ALLOWED)


class TestSamplers:
    @given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 5), st.integers(0, 2**40))
    def test_all_processes_together_train_on_everything(self, count: int, world: int, epoch: int, seed: int) -> None:
        samplers = [TrainingSampler(Natural(count), seed, rank, world) for rank in range(world)]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        shares = [list(sampler) for sampler in samplers]
        assert {len(share) for share in shares} == {len(samplers[0])}
        drawn = Counter(draw.sample_index for share in shares for draw in share)
        assert set(drawn) == set(range(count))
        assert sum(drawn.values()) - count < world
        assert {draw.epoch for share in shares for draw in share} == {epoch}

    def test_the_order_changes_with_the_epoch_and_is_repeatable(self) -> None:
        def order(seed: int, epoch: int) -> list[int]:
            sampler = TrainingSampler(Natural(50), seed)
            sampler.set_epoch(epoch)
            return [draw.sample_index for draw in sampler]

        assert order(0, 0) == order(0, 0)
        assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9

    @given(st.integers(0, 60), st.integers(1, 8))
    def test_evaluation_sees_each_sample_once(self, count: int, world: int) -> None:
        shares = [list(EvaluationSampler(count, rank, world)) for rank in range(world)]
        assert sorted(index for share in shares for index in share) == list(range(count))
        assert [len(EvaluationSampler(count, rank, world)) for rank in range(world)] == [len(share) for share in shares]


class TestLoaders:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_batches_of_bytes(self, masked: list[Sample], workers: int) -> None:
        loader = build_training_loader(training(masked, "light"), 4, workers=workers)
        for epoch in range(2):
            loader.set_epoch(epoch)
            batches = list(loader)
            assert len(batches) == len(loader) == 3
            for batch, size in zip(batches, (4, 4, 3), strict=True):
                assert isinstance(batch, Example)
                assert batch.image.shape == (size, 3, 16, 24)
                assert batch.image.dtype == torch.uint8
                assert batch.target.shape == (size, 16, 24)

    def test_runs_do_not_depend_on_the_number_of_workers(self, masked: list[Sample]) -> None:
        def run(workers: int) -> list[Example]:
            loader = build_training_loader(training(masked, "strong"), 4, workers=workers)
            batches = []
            for epoch in range(2):
                loader.set_epoch(epoch)
                batches += list(loader)
            return batches

        for one, other in zip(run(0), run(2), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)

    @pytest.mark.parametrize(
        ("batch_size", "sizes"), [(3, [3, 3, 3, 2]), (5, [5, 5]), (6, [6, 5]), (10, [10]), (11, [11]), (16, [11])]
    )
    def test_a_last_batch_of_one_sample_is_dropped_and_a_larger_one_is_kept(
        self, labelled: list[Sample], batch_size: int, sizes: list[int]
    ) -> None:
        loader = build_training_loader(training(labelled), batch_size, workers=0)
        assert [len(batch.target) for batch in loader] == sizes

    @pytest.mark.parametrize("batch_size", [2, 3, 4, 5])
    @pytest.mark.parametrize("world_size", [1, 2, 3])
    def test_all_processes_have_the_same_batches(
        self, labelled: list[Sample], batch_size: int, world_size: int
    ) -> None:
        sizes = []
        for rank in range(world_size):
            loader = build_training_loader(training(labelled), batch_size, workers=0, rank=rank, world_size=world_size)
            sizes.append([len(batch.target) for batch in loader])
            assert len(loader) == len(sizes[-1])
        assert sizes == [sizes[0]] * world_size
        share = -(-COUNT // world_size)
        assert sum(sizes[0]) == share - (share % batch_size == 1)

    def test_every_sample_is_drawn_over_the_epochs(self, labelled: list[Sample]) -> None:
        loader = build_training_loader(training(labelled), 10, workers=0)
        seen: set[int] = set()
        for epoch in range(6):
            loader.set_epoch(epoch)
            seen |= {int(image.max()) for batch in loader for image in batch.image}
        assert len(seen) == COUNT

    @pytest.mark.parametrize(("limit", "sizes"), [(1, [3]), (2, [3, 3]), (3, [3, 3, 3]), (9, [3, 3, 3, 2])])
    def test_an_epoch_has_no_more_batches_than_other_processes_have(
        self, labelled: list[Sample], limit: int, sizes: list[int]
    ) -> None:
        loader = build_training_loader(training(labelled), 3, workers=2)
        loader.limit(limit)
        assert len(loader) == len(sizes)
        for epoch in range(2):
            loader.set_epoch(epoch)
            assert [len(batch.target) for batch in loader] == sizes

    def test_the_callers_random_numbers_are_left_alone(self, labelled: list[Sample]) -> None:
        torch.manual_seed(3)
        expected = torch.rand(4)
        torch.manual_seed(3)
        list(build_training_loader(training(labelled), 4, workers=0))
        torch.testing.assert_close(torch.rand(4), expected)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_evaluation_batches(self, masked: list[Sample], workers: int) -> None:
        batches: list[EvaluationBatch] = list(build_evaluation_loader(evaluation(masked), 4, workers=workers))
        assert [len(batch.images) for batch in batches] == [4, 4, 3]
        assert [index for batch in batches for index in batch.sample_indices] == list(range(COUNT))
        for batch in batches:
            assert batch.images.dtype == torch.uint8
            assert [target.shape for target in batch.targets] == list(zip(batch.heights, batch.widths, strict=True))

    def test_processes_share_the_evaluation(self, labelled: list[Sample]) -> None:
        seen = [
            index
            for rank in range(3)
            for batch in build_evaluation_loader(evaluation(labelled), 2, workers=0, rank=rank, world_size=3)
            for index in batch.sample_indices
        ]
        assert sorted(seen) == list(range(COUNT))

    def test_batches_of_many_labels(self, images: Path) -> None:
        samples = [Sample(images / f"{index}.png", labels=(index % 3,)) for index in range(4)]
        (batch,) = build_training_loader(training(samples), 4, workers=0)
        assert (batch.target.shape, batch.target.dtype) == ((4, 3), torch.uint8)
        (evaluated,) = build_evaluation_loader(evaluation(samples), 4, workers=0)
        assert [target.tolist() for target in evaluated.targets] == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]

    def test_an_empty_share(self, labelled: list[Sample]) -> None:
        assert list(build_evaluation_loader(evaluation(labelled[:1]), 2, rank=1, world_size=2)) == []
