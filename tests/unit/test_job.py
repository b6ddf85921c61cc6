from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from byoc_vision.errors import InputError
from byoc_vision.job import Channel, Job
from byoc_vision.paths import MlPaths


@pytest.fixture
def paths(tmp_path: Path) -> MlPaths:
    paths = MlPaths(tmp_path)
    paths.input_data_config.parent.mkdir(parents=True)
    return paths


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_plain_docker_run_has_folders_alone(paths: MlPaths) -> None:
    paths.channel("train").mkdir(parents=True)
    job = Job.load(paths)
    assert job.folders == {"train": paths.channel("train")}
    assert (job.hosts, job.host_rank) == (("localhost",), 0)


def test_an_empty_root_is_a_job_without_channels(tmp_path: Path) -> None:
    assert Job.load(MlPaths(tmp_path)).channels == {}


def test_channels_as_declared(paths: MlPaths) -> None:
    paths.channel("train").mkdir(parents=True)
    write(paths.input_data_config, {"train": {"TrainingInputMode": "FastFile", "ContentType": "image/jpeg"}})
    channel = Job.load(paths).channels["train"]
    assert (channel.input_mode, channel.content_type) == ("FastFile", "image/jpeg")


def test_the_sdks_own_channels_are_not_data(paths: MlPaths) -> None:
    for name in ("train", "code", "sm_drivers"):
        paths.channel(name).mkdir(parents=True)
    assert list(Job.load(paths).channels) == ["train"]


def test_a_declared_channel_without_a_folder(paths: MlPaths) -> None:
    write(paths.input_data_config, {"train": {"TrainingInputMode": "File"}})
    with pytest.raises(InputError, match=r"declares train, but .*/train does not exist"):
        Job.load(paths)


def test_hosts_are_ranked_by_name(paths: MlPaths) -> None:
    write(paths.resource_config, {"current_host": "algo-2", "hosts": ["algo-2", "algo-1"]})
    job = Job.load(paths)
    assert (job.hosts, job.host_rank) == (("algo-1", "algo-2"), 1)


def test_a_host_that_is_not_of_the_job(paths: MlPaths) -> None:
    write(paths.resource_config, {"current_host": "algo-3", "hosts": ["algo-1"]})
    with pytest.raises(InputError, match="current_host 'algo-3' is not among hosts"):
        Job.load(paths)


def test_only_a_network_interface_that_exists_is_used(paths: MlPaths) -> None:
    real = socket.if_nameindex()[0][1]
    for name, expected in ((real, real), ("ethwe-of-sdk-v3", None)):
        write(paths.resource_config, {"current_host": "a", "hosts": ["a"], "network_interface_name": name})
        assert Job.load(paths).network_interface == expected


@pytest.mark.parametrize("content", ["{", "[]"])
def test_configuration_that_is_not_an_object(paths: MlPaths, content: str) -> None:
    paths.resource_config.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"resourceconfig\.json"):
        Job.load(paths)


def test_an_unknown_input_mode(paths: MlPaths) -> None:
    write(paths.input_data_config, {"train": {"TrainingInputMode": "Stream"}})
    with pytest.raises(InputError, match=r"train\.TrainingInputMode 'Stream'"):
        Job.load(paths)


def test_a_pipe_need_not_be_there_yet(paths: MlPaths) -> None:
    declared = {
        "TrainingInputMode": "Pipe",
        "ContentType": "application/x-recordio",
        "S3DistributionType": "FullyReplicated",
    }
    write(
        paths.input_data_config,
        {"train": declared | {"RecordWrapperType": "RecordIO"}, "test": declared | {"RecordWrapperType": "None"}},
    )
    channels = Job.load(paths).channels
    assert channels["train"] == Channel(
        "train", paths.channels / "train_0", "Pipe", "application/x-recordio", "RecordIO", "FullyReplicated"
    )
    assert channels["test"].record_wrapper is None


def test_the_root_comes_from_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ML_ROOT", str(tmp_path / "environment"))
    assert MlPaths.from_environment(tmp_path / "given").root == tmp_path / "given"
    assert MlPaths.from_environment().root == tmp_path / "environment"
    monkeypatch.delenv("ML_ROOT")
    assert MlPaths.from_environment().hyperparameters == Path("/opt/ml/input/config/hyperparameters.json")


def test_files_are_dealt_out_where_there_are_several_hosts(paths: MlPaths) -> None:
    sharded = {"S3DistributionType": "ShardedByS3Key"}
    for name in ("train", "test"):
        paths.channel(name).mkdir(parents=True)
    pipe = sharded | {"TrainingInputMode": "Pipe"}
    write(paths.input_data_config, {"train": sharded, "test": {"S3DistributionType": "FullyReplicated"}, "pipe": pipe})
    assert Job.load(paths).sharded == ()
    write(paths.resource_config, {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]})
    assert Job.load(paths).sharded == ("train",)


def test_a_host_may_get_no_file_of_a_channel_that_is_dealt_out(paths: MlPaths) -> None:
    write(paths.input_data_config, {"train": {"S3DistributionType": "ShardedByS3Key"}})
    with pytest.raises(InputError, match="does not exist"):
        Job.load(paths)
    write(paths.resource_config, {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]})
    assert Job.load(paths).sharded == ("train",)


def test_checkpoints_go_where_the_job_says(paths: MlPaths, tmp_path: Path) -> None:
    assert Job.load(paths).paths.checkpoints == tmp_path / "checkpoints"
    write(paths.checkpoint_config, {"LocalPath": "/opt/ml/my_checkpoints", "S3Uri": "s3://bucket/prefix/"})
    assert Job.load(paths).paths.checkpoints == tmp_path / "my_checkpoints", "below the root that stands for /opt/ml"
    write(paths.checkpoint_config, {"LocalPath": "/data/checkpoints"})
    assert Job.load(paths).paths.checkpoints == Path("/data/checkpoints")


@pytest.mark.parametrize("given", ["checkpoints", 7])
def test_a_checkpoint_path_that_is_not_absolute(paths: MlPaths, given: object) -> None:
    write(paths.checkpoint_config, {"LocalPath": given})
    with pytest.raises(InputError, match=r"checkpointconfig\.json: LocalPath .* is not an absolute path"):
        Job.load(paths)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"train": "File"}, "train must be an object"),
        ({"train": ["File"]}, "train must be an object"),
        ({"train": {"TrainingInputMode": ["File"]}}, "train.TrainingInputMode must be a string"),
        ({"train": {"ContentType": {}}}, "train.ContentType must be a string"),
        ({"../up": {}}, "is not a name of a channel"),
    ],
)
def test_channels_of_another_shape(paths: MlPaths, content: object, said: str) -> None:
    write(paths.input_data_config, content)
    with pytest.raises(InputError, match=rf"inputdataconfig\.json: .*{said}"):
        Job.load(paths)


@pytest.mark.parametrize("hosts", ["algo-1", {"algo-1": 1}, [1, 2], [["algo-1"]], 3])
def test_hosts_of_another_shape(paths: MlPaths, hosts: object) -> None:
    write(paths.resource_config, {"hosts": hosts})
    with pytest.raises(InputError, match=r"resourceconfig\.json: hosts must be a list of names"):
        Job.load(paths)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to itself", "nested too deeply"])
def test_configuration_that_cannot_be_read(paths: MlPaths, kind: str) -> None:
    file = paths.input_data_config
    match kind:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "link to itself":
            file.symlink_to(file)
        case "nested too deeply":
            file.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"inputdataconfig\.json (is not|cannot be read)"):
        Job.load(paths)
