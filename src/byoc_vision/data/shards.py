"""Channels of which each host has other files, as with ShardedByS3Key.

Each host lists its files, and the lists are merged: samples, classes and splits are found as if all files were on one
host, and each host reads its own. So a class may be on one host only. A file that is itself a list, of labels or of
records, must be on the first host, where the samples are found.

Source: S3DataSource (S3DataDistributionType) in the SageMaker API reference. It says how many objects a host gets, but
not which.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from byoc_vision.data.formats.channels import NOT_DATA, is_channel_name
from byoc_vision.data.formats.scan import Folder, merged, scan
from byoc_vision.data.samples import Dataset, Sample, file_of
from byoc_vision.errors import InputError
from byoc_vision.job import Job

# Files that are opened to find samples: lists, label maps, classes.json, annotations of shapes, and records.
_LISTS = re.compile(
    r".+\.(lst|rec|records|csv|tsv|json|manifest|jsonl|json-?lines|xml|ya?ml|names)|(?!readme|licen[cs]e).+\.txt",
    re.IGNORECASE,
)
REPLICATE = (
    "use S3DataDistributionType=FullyReplicated: the hosts divide the images among themselves, and with "
    "TrainingInputMode=FastFile nothing is copied in advance"
)


@dataclass(frozen=True)
class HostFiles:
    """The files of a host in the sharded channels, by channel."""

    host: str
    channels: Mapping[str, Folder]


def list_host(job: Job) -> HostFiles:
    """List this host's files in sharded channels.

    Raises InputError if every host needs such a channel, or if it cannot be listed.
    """
    if needed := [name for name in job.sharded if name in NOT_DATA]:
        raise InputError(
            f"{job.paths.input_data_config}: S3DistributionType of {', '.join(needed)} is ShardedByS3Key, but every "
            "host needs all of it; use FullyReplicated there"
        )
    paths = {name: job.channels[name].path for name in job.sharded if is_channel_name(name)}
    return HostFiles(
        job.current_host,
        {name: scan(path) if path.is_dir() else Folder(path, (), ()) for name, path in paths.items()},
    )


@dataclass(frozen=True)
class Shards:
    """Which files are on which host.

    hosts: by rank. A channel that is the same on all hosts, for example on a shared disk, is not sharded.
    """

    hosts: tuple[HostFiles, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.host for entry in self.hosts)

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """The channels of which the hosts have different files."""
        parts = [entry.channels for entry in self.hosts]
        return tuple(name for name in parts[0] if any(part[name] != parts[0][name] for part in parts))

    def together(self) -> dict[str, Folder]:
        """These channels with the files of all hosts, as if on one host.

        Raises InputError if the hosts' channels have different paths, or if a list is not on the first host.
        """
        for name in self.channels:
            self._check_paths(name)
            self._check_lists(name)
        return {name: merged([entry.channels[name] for entry in self.hosts]) for name in self.channels}

    def owner(self, sample: Sample) -> int | None:
        """The rank of the host that has a sample; None if all hosts have it."""
        return next(iter(self._holders(sample)), None)

    def owners(self, samples: Sequence[Sample]) -> list[int] | None:
        """The owner of each sample; None if all hosts have all samples.

        If only some are sharded, the others belong to the first host.
        """
        found = [self.owner(sample) for sample in samples]
        return None if all(owner is None for owner in found) else [owner or 0 for owner in found]

    def refuse_parted(self, dataset: Dataset) -> None:
        """Raises InputError that names an image whose mask is on another host."""
        for split, samples in dataset.splits.items():
            parted = [sample for sample in samples if len(self._holders(sample)) > 1]
            if parted:
                image, mask, *_ = self._holders(parted[0])
                raise InputError(
                    f"{parted[0].image} is on {self.names[image]} without its mask: {parted[0].mask} is on "
                    f"{self.names[mask]}. The same holds for {len(parted)} of {len(samples)} {split} images: "
                    f"ShardedByS3Key ({', '.join(self.channels)}) distributes single objects, and each channel on its "
                    "own. Put images and masks under one prefix if they reach the hosts in pairs there; otherwise "
                    f"{REPLICATE}"
                )

    def refuse_idle(self, dataset: Dataset) -> None:
        """Raises InputError that names the hosts without a training image."""
        owners = self.owners(dataset.train)
        counts = self.counts(owners) if owners else {}
        if idle := [host for host, count in counts.items() if not count]:
            raise InputError(
                f"{', '.join(idle)} has none of the {len(dataset.train)} training images, with "
                f"S3DistributionType=ShardedByS3Key ({', '.join(self.channels)}); use {len(counts) - len(idle)} "
                f"instead of {len(counts)} hosts (instance_count), or {REPLICATE}"
            )

    def counts(self, owners: Sequence[int]) -> dict[str, int]:
        """The number of samples on each host."""
        count = Counter(owners)
        return {host: count[rank] for rank, host in enumerate(self.names)}

    @cached_property
    def _holder(self) -> dict[Path, int]:
        """The first host that has a file."""
        found: dict[Path, int] = {}
        for rank, entry in enumerate(self.hosts):
            for name in self.channels:
                for path in entry.channels[name].all_files():
                    found.setdefault(path, rank)
        return found

    def _holders(self, sample: Sample) -> list[int]:
        """The ranks of the hosts that have its image and its mask, as far as these are sharded, each once."""
        paths = [file_of(file) for file in (sample.image, sample.mask) if file]
        paths += sample.further_masks
        return list(dict.fromkeys(self._holder[path] for path in paths if path in self._holder))

    def _check_paths(self, name: str) -> None:
        first = self.hosts[0]
        for other in self.hosts[1:]:
            if other.channels[name].path != first.channels[name].path:
                raise InputError(
                    f"the channel {name} is {first.channels[name].path} on {first.host}, but "
                    f"{other.channels[name].path} on {other.host}; use the same --root on all hosts"
                )

    def _check_lists(self, name: str) -> None:
        here = set(self.hosts[0].channels[name].all_files())
        for other in self.hosts[1:]:
            for path in other.channels[name].all_files():
                if path not in here and _LISTS.fullmatch(path.name):
                    raise InputError(
                        f"{path} is only on {other.host}, with S3DistributionType=ShardedByS3Key ({name}): every host "
                        "needs labels, lists and records. Put lists into a channel of their own that is "
                        f"FullyReplicated ({name}_lst, {name}_csv, {name}_manifest, label_map); for everything else, "
                        f"such as a text or JSON file for each image (YOLO, LabelMe), {REPLICATE}"
                    )
