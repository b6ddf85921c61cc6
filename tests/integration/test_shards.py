"""S3DistributionType=ShardedByS3Key: each of two hosts has other files of a channel."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.forked import Forked
from support.hosts import HOSTS, declare, log_of, start
from support.jobs import QUICK, read_metrics
from support.waiting import wait_until

from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.data.sample_data import SHAPES, make_classification_set
from byoc_vision.paths import MlPaths

SMALL = {
    "model": "test_resnet",
    "image_size": "32",
    "batch_size": "2",
    "num_workers": "0",
    "checkpoint_minutes": "1e-9",
    "class_weights": "balanced",
    **QUICK,
}
SHARDED = ("train", "validation", "test")


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """All files together, as channels below one folder."""
    make_classification_set(tmp_path / "both", count_train=20, count_validation=12, size=40)
    shutil.copytree(tmp_path / "both" / "validation", tmp_path / "both" / "test")
    return tmp_path / "both"


@pytest.fixture
def hosts(both: Path, tmp_path: Path) -> list[MlPaths]:
    """Triangles lie on the second host alone, which has 8 of 20 images; of those to measure on it has 3 of 12."""
    folders = [tmp_path / "algo-1", tmp_path / "algo-2"]
    for image in sorted(path for channel in SHARDED for path in (both / channel).rglob("*.jpg")):
        shape, number = image.stem.split("_")
        second = shape == "triangle" or (image.parts[-3] == "train" and shape == "star" and int(number) > 8)
        target = folders[second] / "input" / "data" / image.relative_to(both)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)
    return [declare(folder, host, SHARDED, **SMALL) for folder, host in zip(folders, HOSTS, strict=True)]


@pytest.fixture
def started() -> Iterator[list[Forked]]:
    """What a test starts; ended with it."""
    processes: list[Forked] = []
    yield processes
    for process in processes:
        process.kill()


def run(hosts: list[MlPaths], started: list[Forked], **hyperparameters: str) -> None:
    for host, paths in zip(HOSTS, hosts, strict=True):
        declare(paths.root, host, SHARDED, **SMALL, **hyperparameters)
    started += start(hosts)


def statuses(started: list[Forked]) -> list[int]:
    found = [process.wait(100) for process in started]
    started.clear()
    return found


def logs(hosts: list[MlPaths]) -> str:
    return "\n".join(map(log_of, hosts))


@pytest.mark.timeout(240)
def test_hosts_with_shards_train_one_model_and_resume_after_a_stop(
    both: Path, hosts: list[MlPaths], started: list[Forked]
) -> None:
    first, second = hosts
    run(hosts, started, epochs="100000")
    wait_until(lambda: "epoch=2 " in log_of(first), lambda: logs(hosts), lambda: started[0].poll() is None)
    for process in started:
        process.send_signal(signal.SIGTERM)
    assert statuses(started) == [0, 0], logs(hosts)
    done = read_metrics(first)["epochs"]
    asked = re.search(r"Asked to stop in epoch (\d+) after (\d+) of its batches", log_of(first))
    assert asked

    run(hosts, started, epochs=str(len(done) + 1))
    assert statuses(started) == [0, 0], logs(hosts)
    assert f"Going on from the checkpoint: epoch {asked[1]}, after {asked[2]} of its 4 batches" in log_of(first)
    assert "restarting epoch" not in log_of(first)
    assert re.search("^epoch=", log_of(first), re.MULTILINE)
    assert not re.search("^(epoch=|test:)", log_of(second), re.MULTILINE), "SageMaker would count each metric twice"
    assert "An epoch has 4 batches a process" in log_of(first)
    assert "uses 8 of 12 on algo-1, 8 of 8 on algo-2" in log_of(first)
    results = read_metrics(first)
    assert results["epochs"][: len(done)] == done
    assert results["pictures"] == {"train": 20, "validation": 12, "test": 12}
    assert results["test"] == pytest.approx(results["validation"], abs=1e-6), "the images are the same"
    config, _ = artifact.load(first.model)
    assert config.class_names == SHAPES
    found = first.root / "found.json"
    evaluate = ["evaluate", "--model", str(first.model), "--data", str(both / "validation")]
    assert main([*evaluate, "--output", str(found)]) == 0
    for name, value in json.loads(found.read_text()).items():
        assert config.metrics[f"validation:{name}"] == pytest.approx(value, abs=1e-6), "each image counted once"
    assert not second.model.exists()
    assert not second.output_data.exists()


@pytest.mark.timeout(120)
def test_a_bad_image_in_one_part_ends_all_hosts(hosts: list[MlPaths], started: list[Forked]) -> None:
    bad = next(hosts[1].channel("train").rglob("triangle*.jpg"))
    bad.write_bytes(bad.read_bytes()[:100])
    run(hosts, started, epochs="1")
    assert statuses(started) == [3, 3], logs(hosts)
    for paths in hosts:
        cause, *lines = paths.failure.read_text().splitlines()
        assert re.match(r"Your data: on algo-2: 1 of 44 samples cannot be used", cause)
        assert bad.name in lines[0]
    assert json.loads((hosts[0].output_data / "preflight.json").read_text())["bad_count"] == 1
