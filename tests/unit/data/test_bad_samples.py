"""Samples that can no longer be read when their turn comes, in the training process and in loader processes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.image_dataset import (
    MOST_BAD_IN_A_ROW,
    EvaluationDataset,
    Example,
    ImageDataset,
    UnreadableSampleError,
)
from byoc_vision.data.loaders import EvaluationLoader, TrainingLoader, build_evaluation_loader, build_training_loader
from byoc_vision.data.samples import OnBadSample, Sample
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo

COUNT, BAD = 16, (3, 4, 9)
CLASSES = tuple(ClassInfo(str(index)) for index in range(COUNT))
RULE = Preprocess(height=8, width=8)
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def make(folder: Path, count: int, bad: tuple[int, ...]) -> list[Sample]:
    """Images, each of its own grey; the bad ones are cut short."""
    for index in range(count):
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), np.full((8, 8, 3), 10 * (index % COUNT), np.uint8))
        if index in bad:
            path.write_bytes(path.read_bytes()[:-20])
    return [Sample(folder / f"{index}.png", label=index % COUNT) for index in range(count)]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return make(tmp_path, COUNT, BAD)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A log file, to which loader processes write as the training process does."""
    path = tmp_path / "log.txt"
    handler = logging.FileHandler(path)
    logging.getLogger("byoc_vision").addHandler(handler)
    yield path
    logging.getLogger("byoc_vision").removeHandler(handler)
    handler.close()


def training(samples: list[Sample], on_bad_sample: OnBadSample) -> ImageDataset:
    none = build_augmentation("none", "classification")
    return ImageDataset(samples, CLASSES, RULE, none, on_bad_sample=on_bad_sample)


def evaluation(samples: list[Sample], on_bad_sample: OnBadSample) -> EvaluationDataset:
    return EvaluationDataset(samples, CLASSES, RULE, on_bad_sample=on_bad_sample)


def epochs(samples: list[Sample], workers: int) -> list[list[Example]]:
    loader = build_training_loader(training(samples, "skip"), 4, workers=workers)
    seen = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        seen.append(list(loader))
    return seen


def refusal(loader: TrainingLoader | EvaluationLoader) -> str:
    """Why an epoch ends; the loader is free when this returns.

    An error that is kept keeps its frames, and the loader in them: the garbage collector then closes the queues of its
    processes before it tells them to end, and waits five seconds for each.
    """
    try:
        list(loader)
    except UnreadableSampleError as error:
        return str(error)
    pytest.fail("all samples were read")


class TestFail:
    @WORKERS
    def test_the_first_is_named_in_one_line(self, samples: list[Sample], workers: int) -> None:
        for said in (
            refusal(build_training_loader(training(samples, "fail"), 4, workers=workers)),
            refusal(build_evaluation_loader(evaluation(samples, "fail"), 4, workers=workers)),
        ):
            assert any(said.startswith(str(samples[index].image)) for index in BAD)
            assert "is cut short" in said
            assert "\n" not in said


class TestSkip:
    @WORKERS
    def test_the_next_readable_sample_takes_its_place(self, samples: list[Sample], workers: int) -> None:
        for batches in epochs(samples, workers):
            labels = torch.cat([batch.target for batch in batches])
            greys = torch.cat([batch.image for batch in batches])[:, 0, 0, 0]
            assert torch.equal(greys, labels.to(torch.uint8) * 10)
            replaced = [{3: 5, 4: 5, 9: 10}.get(index, index) for index in range(COUNT)]
            assert sorted(labels.tolist()) == sorted(replaced)

    def test_epochs_are_the_same_with_any_number_of_workers(self, samples: list[Sample]) -> None:
        for one, other in zip(epochs(samples, 0), epochs(samples, 2), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)

    @WORKERS
    def test_each_is_warned_of_once(self, samples: list[Sample], log: Path, workers: int) -> None:
        epochs(samples, workers)
        warnings = [line for line in log.read_text().splitlines() if "on_bad_sample=skip" in line]
        assert sorted(line.partition(" ")[0] for line in warnings) == sorted(str(samples[index].image) for index in BAD)
        assert all("is cut short" in line and "the next sample takes its place" in line for line in warnings)

    @WORKERS
    def test_evaluation_leaves_it_out_and_says_so(self, samples: list[Sample], log: Path, workers: int) -> None:
        loader = build_evaluation_loader(evaluation(samples, "skip"), 2, workers=workers)
        for _ in range(2):
            batches = list(loader)
            seen = [index for batch in batches for index in batch.sample_indices]
            assert seen == [index for index in range(COUNT) if index not in BAD]
            assert sum(len(batch.unreadable) for batch in batches) == len(BAD)
            assert [len(batch.images) for batch in batches] == [len(batch.targets) for batch in batches]
        assert log.read_text().count("the metrics leave it out") == len(BAD)

    @WORKERS
    def test_too_many_in_a_row_end_the_job(self, tmp_path: Path, workers: int) -> None:
        samples = make(tmp_path, 30, tuple(range(2, 3 + MOST_BAD_IN_A_ROW)))
        said = refusal(build_training_loader(training(samples, "skip"), 4, workers=workers))
        assert "11 samples in a row cannot be read" in said
        assert f"{tmp_path / '12.png'} is cut short" in said

    def test_ten_in_a_row_are_passed_over(self, tmp_path: Path) -> None:
        samples = make(tmp_path, 30, tuple(range(2, 2 + MOST_BAD_IN_A_ROW)))
        assert training(samples, "skip")[2].target == 12

    def test_where_all_are_bad_the_job_ends(self, tmp_path: Path) -> None:
        samples = make(tmp_path, 3, (0, 1, 2))
        with pytest.raises(DataError, match="3 samples in a row cannot be read"):
            training(samples, "skip")[1]
