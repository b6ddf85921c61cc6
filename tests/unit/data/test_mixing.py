"""Mixed batches: each image with the one before it, targets in the same shares, the same for the same keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.image_dataset import Example, ImageDataset
from byoc_vision.data.loaders import build_training_loader
from byoc_vision.data.mixing import Mixing, box
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.data.samples import Sample
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo

CLASSES = 3


def examples(count: int = 4, side: int = 16) -> list[Example]:
    """Images of one grey each, the label is the index modulo 3."""
    return [
        Example(torch.full((3, side, side), 60 * index, dtype=torch.uint8), torch.tensor(index % CLASSES))
        for index in range(count)
    ]


def test_mixup_blends_images_and_labels_in_the_same_share() -> None:
    mixing = Mixing(mixup=1.0, cutmix=0.0, classes=CLASSES)
    for seed in range(20):
        plain, mixed = examples(), mixing(examples(), seed)
        share = float(mixed[1].target[1])
        assert mixed[1].target.tolist() == pytest.approx([1 - share, share, 0], abs=1e-6)
        for index, example in enumerate(mixed):
            one, other = plain[index].image.float(), plain[index - 1].image.float()
            assert example.image.dtype == torch.uint8
            torch.testing.assert_close(example.image.float(), share * one + (1 - share) * other, atol=0.51, rtol=0)
            assert float(example.target.sum()) == pytest.approx(1)


def test_cutmix_takes_a_box_of_the_image_before_and_its_share_of_the_label() -> None:
    mixing = Mixing(mixup=0.0, cutmix=1.0, classes=CLASSES)
    for seed in range(20):
        mixed = mixing(examples(), seed)
        for index in (1, 2):
            from_before = mixed[index].image == 60 * (index - 1)
            assert bool((from_before | (mixed[index].image == 60 * index)).all())
            share = float(from_before.float().mean())
            assert float(mixed[index].target[(index - 1) % CLASSES]) == pytest.approx(share, abs=1e-6)


def test_the_box_is_that_of_torchvision() -> None:
    """torchvision draws from torch's generator; the corners follow from the same pixel and share."""
    transform = v2.CutMix(num_classes=CLASSES, alpha=1.0)
    for seed in range(10):
        torch.manual_seed(seed)
        drawn = transform.make_params([torch.zeros(2, 3, 20, 30)])
        torch.manual_seed(seed)
        share = float(transform._dist.sample(()))
        column, row = (int(torch.randint(most, size=(1,))) for most in (30, 20))

        class Fixed:
            values = iter((row, column))

            def integers(self, most: int) -> int:
                return next(self.values)

        left, top, right, bottom = drawn["box"]
        assert box(20, 30, share, Fixed()) == (top, bottom, left, right)  # type: ignore[arg-type]


def test_both_alternate_and_several_labels_are_shared_too() -> None:
    mixing = Mixing(mixup=1.0, cutmix=1.0, classes=CLASSES)
    labelled = [Example(example.image, torch.tensor([1, index % 2, 0], dtype=torch.uint8))
                for index, example in enumerate(examples())]  # fmt: skip
    kinds = set()
    for seed in range(20):
        mixed = mixing(labelled, seed)
        assert float(mixed[1].target[0]) == pytest.approx(1)
        kinds.add(len(mixed[1].image.unique()) == 1)  # a blend has one grey
    assert kinds == {True, False}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    folder = tmp_path_factory.mktemp("images")
    make_classification_set(folder, count_train=12, count_validation=2, size=16)
    classes = sorted((folder / "train").iterdir())
    samples = [Sample(path, label=label) for label, each in enumerate(classes) for path in sorted(each.iterdir())]
    return ImageDataset(
        samples,
        [ClassInfo(each.name) for each in classes],
        Preprocess(height=16, width=16),
        build_augmentation("light", "classification"),
        seed=3,
        mixing=Mixing(0.5, 1.0, len(classes)),
    )


def batches(dataset: ImageDataset, workers: int = 0, first: int = 0, rank: int = 0, size: int = 1) -> list[Example]:
    loader = build_training_loader(dataset, 4, workers=workers, rank=rank, world_size=size)
    loader.set_epoch(2, first)
    return list(loader)


def test_batches_do_not_depend_on_loader_processes_or_on_where_the_epoch_is_resumed(dataset: ImageDataset) -> None:
    expected = batches(dataset)
    assert expected[0][1].dtype == torch.float32
    assert expected[0][1].shape == (4, len({sample.label for sample in dataset.samples}))
    for found in (batches(dataset, workers=2), [expected[0], *batches(dataset, first=1)]):
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])


def test_processes_mix_their_own_images_each_in_its_own_share(dataset: ImageDataset) -> None:
    first, second = (batches(dataset, rank=rank, size=2) for rank in (0, 1))
    shares = [np.unique(part[0][1].numpy().round(5)).tolist() for part in (first, second)]
    assert shares[0] != shares[1]


def test_each_epoch_mixes_in_other_shares(dataset: ImageDataset, tmp_path: Path) -> None:
    loader = build_training_loader(dataset, 4, workers=0)
    seen = []
    for epoch in (1, 2):
        loader.set_epoch(epoch)
        seen.append(next(iter(loader))[1])
    assert not torch.equal(*seen)
