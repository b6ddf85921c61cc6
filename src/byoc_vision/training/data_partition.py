"""What each process trains and evaluates on: found and checked once, and divided.

Usually every host has all samples, and all processes divide them. If a channel is sharded each host has its own, and
its processes divide those.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch

from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.cache import ImageCache, choose_place, free_memory, open_cache
from byoc_vision.data.fingerprint import DataFingerprint
from byoc_vision.data.formats import find_dataset
from byoc_vision.data.image_dataset import Crop, ImageDataset, MixExamples, UnreadableSampleError
from byoc_vision.data.loaders import TrainingLoader, build_training_loader
from byoc_vision.data.pipe_mode import content_hashes, differing_channels
from byoc_vision.data.preflight import (
    CheckedDataset,
    ScanResult,
    check_dataset,
    check_split,
    error_naming_all,
    find_and_check,
    job_budget,
    log_or_raise,
    merge_scans,
    report_refusals,
    scan_part,
)
from byoc_vision.data.preflight.report import REPORT_FILE
from byoc_vision.data.samplers import mixed_seed
from byoc_vision.data.samples import Dataset, OnBadSample, Sample
from byoc_vision.data.shards import Shards, list_host
from byoc_vision.errors import DataError, InputError, UserError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.job import Job
from byoc_vision.launch.distributed import (
    Share,
    World,
    all_gather,
    on_hosts,
    on_rank0,
    processes_per_host,
    smallest_over_processes,
)
from byoc_vision.preprocess import Preprocess
from byoc_vision.recipe import resolve_config

logger = logging.getLogger(__name__)

T = TypeVar("T")

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DataPartition:
    """A process's part of a job's data.

    dataset: the samples on this host; of a split that every host has, all of them.
    shares: by split, which of these are this process's.
    seed: of the order and the augmentation of training images.
    images: to train on, by host, and digest: which they are; both empty if every host has all.
    unread_test: whether samples of the `test` split were not read when the data were checked.
    fingerprint: of the data of all hosts; None if checkpoints are not compared.
    """

    dataset: Dataset
    shares: Mapping[str, Share]
    seed: int
    images: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    unread_test: bool = False
    fingerprint: DataFingerprint | None = None

    @classmethod
    def shared(cls, dataset: Dataset, world: World, seed: int) -> DataPartition:
        """Every host has all samples."""
        return cls(dataset, dict.fromkeys(SPLITS, world.share), seed)

    @classmethod
    def sharded(cls, dataset: Dataset, shards: Shards, host: str, world: World, seed: int) -> DataPartition:
        """dataset: the samples of all hosts."""
        rank = shards.names.index(host)
        owners = {split: shards.owners(samples) for split, samples in dataset.splits.items()}
        here = replace(
            dataset,
            train=_owned(dataset.train, owners.get("train"), rank),
            validation=_owned(dataset.validation, owners.get("validation"), rank),
            test=_owned(dataset.test, owners.get("test"), rank),
        )
        shares = {split: world.share_of_host if owners.get(split) else world.share for split in SPLITS}
        if (training := owners["train"]) is None:
            return cls(here, shares, seed)
        # With one seed all hosts would augment their first, second, … images alike.
        return cls(here, shares, mixed_seed(seed, rank), shards.counts(training), digest(training))

    @property
    def is_sharded(self) -> bool:
        """Whether the hosts train on images of their own, of which some hosts have fewer."""
        return bool(self.images)

    def check_test(self, world: World) -> None:
        """Read the rest of the `test` split now, and not when all is trained. Call it in all processes.

        Raises:
            DataError: names the samples that cannot be used.
        """
        if self.unread_test:
            on_hosts(world, lambda: check_split(self.dataset, "test"))

    @contextmanager
    def unreadable_named(self, on_bad_sample: OnBadSample) -> Iterator[None]:
        """A sample that training cannot use ends the job as it would before training: all such samples are named."""
        try:
            yield
        except UnreadableSampleError as error:
            if on_bad_sample == "skip":
                raise  # the error says that there are too many to leave out
            raise error_naming_all(self.dataset, str(error)) from None

    def epoch_line(self, batches: int, batch_size: int) -> str:
        """What an epoch of `batches` in each process comes to."""
        most = batches * batch_size * self.shares["train"].size
        used = ", ".join(f"{min(count, most)} of {count} on {host}" for host, count in self.images.items())
        return (
            f"Each host trains on its own images. An epoch has {batches} batches a process, as many as the smallest "
            f"part gives, and uses {used}; other ones in each epoch"
        )


def find_data(
    job: Job, hyperparameters: Hyperparameters, world: World, found: Dataset | None = None
) -> tuple[CheckedDataset, DataPartition]:
    """The samples of all hosts, checked, and this process's part of them.

    found: the samples, if they were found before.
    `preflight.json` in the first host's /opt/ml/output/data holds what was found, or what is wrong.

    Raises:
        InputError: the hosts' pipes brought different records.
        DataError: names the samples that cannot be used.
    """
    compare_streams(job, world)
    checked, partition = _find(job, hyperparameters, world, found)
    report = checked.report
    unread = report.checked.get("test") != report.samples.get("test") and hyperparameters.on_bad_sample != "skip"
    here = not partition.is_sharded and not job.sharded
    fingerprint = on_rank0(world, lambda: DataFingerprint.of(checked.dataset, job.folders, sizes=here))
    return checked, replace(partition, unread_test=unread, fingerprint=fingerprint)


def _find(
    job: Job, hyperparameters: Hyperparameters, world: World, found: Dataset | None
) -> tuple[CheckedDataset, DataPartition]:
    if job.sharded:
        shards = Shards(tuple(on_hosts(world, lambda: _named(job.current_host, lambda: list_host(job)))))
        if shards.channels:
            checked = check_shards(job, hyperparameters, world, shards)
            own = DataPartition.sharded(checked.dataset, shards, job.current_host, world, hyperparameters.seed)
            return checked, own
    checked = on_rank0(world, lambda: check_data(job, hyperparameters, found))
    return checked, DataPartition.shared(checked.dataset, world, hyperparameters.seed)


def compare_streams(job: Job, world: World) -> None:
    """A sample of a pipe is identified by its place in it, so every host must receive the same records.

    Raises InputError that names the channels that differ.
    """
    found = all_gather(content_hashes(job) if world.local_rank == 0 else {}, world)
    if different := differing_channels(found):
        raise InputError(
            f"the pipes of {', '.join(different)} brought other bytes to other hosts; every host must get all records "
            "in the same order: S3DataDistributionType FullyReplicated, and no ShuffleConfig"
        )


def check_data(job: Job, hyperparameters: Hyperparameters, found: Dataset | None = None) -> CheckedDataset:
    """The samples, all of which lie here; as many of them checked as hold the first step up for seconds at the most."""
    options = replace(resolve_config.data_options(hyperparameters), checking_budget=job_budget())
    settings = _settings(job, hyperparameters)
    if found is None:
        checked = find_and_check(job.folders, options, **settings)
    else:
        with report_refusals(settings["report_file"]):
            checked = check_dataset(found, options, **settings)
    log_or_raise(checked.report)
    return checked


def check_shards(job: Job, hyperparameters: Hyperparameters, world: World, shards: Shards) -> CheckedDataset:
    """The samples of all hosts: found in the first process, read on each host, judged in the first process."""
    options = resolve_config.data_options(hyperparameters)
    settings = _settings(job, hyperparameters)

    def find() -> Dataset:
        with report_refusals(settings["report_file"]):
            dataset = find_dataset({**job.folders, **shards.together()}, options)
            shards.refuse_parted(dataset)
            shards.refuse_idle(dataset)
            return dataset

    def is_here(sample: Sample) -> bool:
        return shards.names[shards.owner(sample) or 0] == job.current_host

    def judge(parts: list[ScanResult]) -> CheckedDataset:
        faulty = [host for host, part in zip(shards.names, parts, strict=True) if part.all_invalid]
        with report_refusals(settings["report_file"]):
            checked = check_dataset(dataset, options, **settings, seen=merge_scans(parts, dataset.splits))
        try:
            log_or_raise(checked.report)
        except DataError as error:
            where = f"on {', '.join(faulty)}: " if faulty else ""
            raise DataError(f"{where}{error}") from None
        shards.refuse_idle(checked.dataset)
        return checked

    dataset = on_rank0(world, find)
    parts = on_hosts(world, lambda: _named(job.current_host, lambda: scan_part(dataset, options, is_here)))
    return on_rank0(world, lambda: judge(parts))


def digest(owners: Sequence[int]) -> str:
    """Which image is on which host, in a few letters."""
    return hashlib.blake2b(repr(list(owners)).encode(), digest_size=8).hexdigest()


def _owned(samples: tuple[Sample, ...], owners: Sequence[int] | None, rank: int) -> tuple[Sample, ...]:
    """The samples of one host; all of them if every host has them."""
    if owners is None:
        return samples
    return tuple(sample for sample, owner in zip(samples, owners, strict=True) if owner == rank)


def _settings(job: Job, hyperparameters: Hyperparameters) -> dict[str, Any]:
    return {
        "input_sizes": {
            task: hyperparameters.image_size or (size, size) for task, size in resolve_config.DEFAULT_SIZE.items()
        },
        "balanced": hyperparameters.class_weights != "none" or hyperparameters.sampling != "natural",
        "report_file": job.paths.output_data / REPORT_FILE,
        "report_optional": True,
    }


def _named(host: str, produce: Callable[[], T]) -> T:
    """What `produce` makes; its errors name the host."""
    try:
        return produce()
    except UserError as error:
        raise type(error)(f"on {host}: {error}") from error


def image_cache(
    dataset: Dataset, rule: Preprocess, hyperparameters: Hyperparameters, world: World
) -> ImageCache | None:
    """The cache as the job asks for it, one for all processes of a host; None if images are read only once."""
    generation = on_rank0(world, time.time_ns)
    if hyperparameters.epochs == 1:
        return None
    place = choose_place(hyperparameters.cache, hyperparameters.cache_gb, memory=free_memory())
    return open_cache(dataset, rule, place, generation)


def training_images(
    job: Job,
    partition: DataPartition,
    rule: Preprocess,
    crop: Crop,
    hyperparameters: Hyperparameters,
    cache: ImageCache | None = None,
    mixing: MixExamples | None = None,
) -> ImageDataset:
    """The samples to train on. Raises InputError for an augmentation that is not known or cannot be used."""
    dataset = partition.dataset
    augmentation = build_augmentation(
        hyperparameters.augmentation,
        dataset.task,
        folder=job.folders.get("augmentation"),
        size=(crop.height, crop.width),
        channels=rule.channels,
        crops=hyperparameters.random_resized_crop is None,
    )
    return ImageDataset(
        dataset.train,
        dataset.classes,
        rule,
        augmentation,
        partition.seed,
        crop=crop,
        mixing=mixing,
        on_bad_sample=hyperparameters.on_bad_sample,
        cache=cache.train if cache else None,
        mask_values=dataset.mask_values,
    )


def training_loader(
    images: ImageDataset, hyperparameters: Hyperparameters, partition: DataPartition, world: World, device: torch.device
) -> TrainingLoader:
    """This process's share, in as many batches as every other process has."""
    share = partition.shares["train"]
    batches = build_training_loader(
        images,
        hyperparameters.batch_size,
        sampling=hyperparameters.sampling,
        workers=hyperparameters.num_workers,
        rank=share.rank,
        world_size=share.size,
        local_world_size=processes_per_host(),
        on_gpu=device.type == "cuda",
    )
    if partition.is_sharded:
        batches.limit(smallest_over_processes(len(batches), world, device))
        logger.info(partition.epoch_line(len(batches), hyperparameters.batch_size))
        if hyperparameters.sampling != "natural":
            logger.warning(
                "sampling=%s: each host draws from the classes that it has; class_weights=balanced counts all hosts'",
                hyperparameters.sampling,
            )
    return batches
