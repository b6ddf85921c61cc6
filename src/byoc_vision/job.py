"""The job: its channels, its hosts, and the rank of this host.

Read from SageMaker's inputdataconfig.json, resourceconfig.json and checkpointconfig.json. All may be missing in a plain
`docker run`: then the folders are the channels, there is a single host, and checkpoints go to their usual folder.
docs/sagemaker.md lists what else SageMaker writes.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from byoc_vision.errors import InputError
from byoc_vision.io import read_object
from byoc_vision.paths import MlPaths

JOB_NAME = "TRAINING_JOB_NAME"  # the variable in which SageMaker names the job

InputMode = Literal["File", "FastFile", "Pipe"]

# What `model_uri=` of an estimator fills, under a name of the user's choice: the model to continue from.
_MODEL_CHANNEL, _MODEL_TYPE = "model", "application/x-sagemaker-model"
_TEXTS = ("TrainingInputMode", "ContentType", "RecordWrapperType", "S3DistributionType")

# SDK v3 passes its own scripts as channels.
_NOT_DATA = frozenset({"code", "sm_drivers"})


@dataclass(frozen=True)
class Channel:
    """An input of the job: a folder, its content type, and how it is delivered.

    path: in Pipe mode the first epoch's named pipe, which may not exist yet; `data.pipe_mode` replaces it by a folder.
    record_wrapper: `RecordIO` if SageMaker wraps each object, or each attribute of a manifest, in a record.
    s3_distribution: FullyReplicated, or ShardedByS3Key, with which each host gets different objects.
    """

    name: str
    path: Path
    input_mode: InputMode = "File"
    content_type: str | None = None
    record_wrapper: str | None = None
    s3_distribution: str | None = None


@dataclass(frozen=True)
class Job:
    """The channels by name, and the hosts that share the work."""

    paths: MlPaths
    channels: Mapping[str, Channel] = field(default_factory=dict)
    hosts: tuple[str, ...] = ("localhost",)
    current_host: str = "localhost"
    network_interface: str | None = None

    @property
    def host_rank(self) -> int:
        return self.hosts.index(self.current_host)

    @property
    def folders(self) -> dict[str, Path]:
        return {name: channel.path for name, channel in self.channels.items()}

    @property
    def sharded(self) -> tuple[str, ...]:
        """The channels of which each host has different files. For pipes see `data.pipe_mode`."""
        if len(self.hosts) == 1:
            return ()
        return tuple(
            name for name, channel in self.channels.items() if _is_sharded(channel) and channel.input_mode != "Pipe"
        )

    @classmethod
    def load(cls, paths: MlPaths) -> Job:
        """Raises InputError that names the file and the field."""
        paths = replace(paths, checkpoint_folder=_checkpoint_folder(paths))
        resources = read_object(paths.resource_config)
        hosts = tuple(sorted(_hosts(paths.resource_config, resources.get("hosts"))))
        current_host = resources.get("current_host") or hosts[0]
        if current_host not in hosts:
            raise InputError(f"{paths.resource_config}: current_host {current_host!r} is not among hosts {list(hosts)}")
        return cls(
            paths=paths,
            channels=_channels(paths, several_hosts=len(hosts) > 1),
            hosts=hosts,
            current_host=current_host,
            network_interface=existing_interface(resources.get("network_interface_name")),
        )


def _checkpoint_folder(paths: MlPaths) -> Path | None:
    """CheckpointConfig's LocalPath, which SageMaker syncs with S3; None if the job has none."""
    given = read_object(paths.checkpoint_config, example='{"LocalPath": "/opt/ml/checkpoints"}').get("LocalPath")
    if given in (None, ""):
        return None
    if not isinstance(given, str) or not given.startswith("/"):
        raise InputError(
            f"{paths.checkpoint_config}: LocalPath {given!r} is not an absolute path; name one, as /opt/ml/checkpoints"
        )
    return paths.local(given)


def _channels(paths: MlPaths, several_hosts: bool) -> dict[str, Channel]:
    declared = read_object(paths.input_data_config)
    for name, content in declared.items():
        if not isinstance(content, dict | None):
            raise InputError(
                f'{paths.input_data_config}: {name} must be an object, such as {{"TrainingInputMode": "File"}}'
            )
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise InputError(f"{paths.input_data_config}: {name!r} is not a name of a channel")
        for key in _TEXTS:
            if not isinstance((content or {}).get(key), str | None):
                raise InputError(f"{paths.input_data_config}: {name}.{key} must be a string")
    folders = (
        sorted(child.name for child in paths.channels.iterdir() if child.is_dir()) if paths.channels.is_dir() else []
    )
    names = [name for name in dict.fromkeys([*declared, *folders]) if name not in _NOT_DATA]
    channels = _with_model_channel([_channel(name, declared.get(name) or {}, paths) for name in names])
    missing = [
        name
        for name, channel in channels.items()
        if channel.input_mode != "Pipe"
        and not channel.path.is_dir()
        and not (several_hosts and _is_sharded(channel))  # this host may have none of the files
    ]
    if missing:
        raise InputError(
            f"{paths.input_data_config} declares {', '.join(missing)}, but {paths.channel(missing[0])} does not exist; "
            "mount the channel's folder there"
        )
    return channels


def _with_model_channel(channels: Sequence[Channel]) -> dict[str, Channel]:
    """The channels by name; the one whose content type is that of a model is `model`, whatever its name is."""
    by_name = {_MODEL_CHANNEL if channel.content_type == _MODEL_TYPE else channel.name: channel for channel in channels}
    if len(by_name) < len(channels):
        raise InputError(f"several channels hold a model ({', '.join(one.name for one in channels)}); give one of them")
    return by_name


def _hosts(path: Path, declared: object) -> list[str]:
    if not declared:
        return ["localhost"]
    if not isinstance(declared, list) or not all(isinstance(host, str) for host in declared):
        raise InputError(f"{path}: hosts must be a list of names")
    return declared


def _channel(name: str, declared: dict[str, Any], paths: MlPaths) -> Channel:
    mode: InputMode = declared.get("TrainingInputMode") or "File"
    if mode not in get_args(InputMode):
        raise InputError(f"{paths.input_data_config}: {name}.TrainingInputMode {mode!r} is not File, FastFile or Pipe")
    path = paths.pipe(name, epoch=0) if mode == "Pipe" else paths.channel(name)
    return Channel(
        name,
        path,
        mode,
        content_type=declared.get("ContentType"),
        record_wrapper=_record_wrapper(declared),
        s3_distribution=declared.get("S3DistributionType"),
    )


def _record_wrapper(declared: dict[str, Any]) -> str | None:
    wrapper = declared.get("RecordWrapperType")
    return None if wrapper in (None, "None") else str(wrapper)


def _is_sharded(channel: Channel) -> bool:
    return channel.s3_distribution == "ShardedByS3Key"


def existing_interface(name: str | None) -> str | None:
    """The interface, if it exists. SDK v3's local mode names a missing one, and binding to it would hang."""
    return name if name in {interface for _, interface in socket.if_nameindex()} else None
