"""What two hosts agree on that have other files: two processes, which meet once and look at one job after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import forked, found_data
from support.hosts import HOSTS, declare

DATA = Path("input", "data")

Files = Mapping[str, "np.ndarray | bytes"]
Answers = tuple[dict[str, Any], dict[str, Any]]


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8)


def mask(*values: int) -> np.ndarray:
    """Half of the pixels 0, the others shared out evenly."""
    return np.repeat(np.array([0] * len(values) + list(values), np.uint8), 32 // len(values)).reshape(8, 8)


def pairs(numbers: range, *values: int) -> dict[str, np.ndarray | bytes]:
    images = {f"train/{number}.png": image(number) for number in numbers}
    return images | {f"train_annotation/{number}.png": mask(*values) for number in numbers}


def labelled(name: str, numbers: range, split: str = "train") -> dict[str, np.ndarray | bytes]:
    return {f"{split}/{name}/{number}.png": image(number) for number in numbers}


BOTH = labelled("cat", range(20, 23), "validation") | labelled("dog", range(23, 25), "validation")

BOTH_MASKS = {"validation/a.png": image(50), "validation_annotation/a.png": mask(3)}

# By job: what each of two hosts has, which channels are sharded, and hyperparameters.
JOBS: dict[str, tuple[Files, Files, tuple[str, ...], dict[str, str]]] = {
    "masks": (
        pairs(range(6), 3) | {"validation/a.png": image(50), "validation_annotation/a.png": mask(7)},
        pairs(range(6, 10), 7, 255) | {"validation/b.png": image(51), "validation_annotation/b.png": mask(3)},
        ("train", "train_annotation", "validation", "validation_annotation"),
        {"class_weights": "balanced"},
    ),
    "a part of the masks": (
        pairs(range(6), 3) | {"validation/a.png": image(50), "validation_annotation/a.png": mask(3)},
        pairs(range(6, 10), 7, 7) | {"validation/b.png": image(51), "validation_annotation/b.png": mask(3)},
        ("train", "train_annotation", "validation", "validation_annotation"),
        {"class_weights": "balanced", "num_classes": "8", "checked_pictures": "2"},
    ),
    "a part of the same masks": (
        ({**pairs(range(9), 3), **pairs(range(9, 10), 7)} | BOTH_MASKS,) * 2
        + ((), {"class_weights": "balanced", "num_classes": "8", "checked_pictures": "2"})
    ),
    "classes": (
        labelled("cat", range(5)) | BOTH,
        labelled("dog", range(5, 8)) | BOTH,
        ("train",),
        {"class_weights": "balanced"},
    ),
    "parted": (
        {"train/1.png": image(1), "train/2.png": image(2), "train_annotation/2.png": mask(1)},
        {"train/3.png": image(3), "train_annotation/3.png": mask(1), "train_annotation/1.png": mask(1)},
        ("train", "train_annotation"),
        {},
    ),
    "idle": (labelled("cat", range(3)) | labelled("dog", range(3, 6)), {}, ("train",), {}),
    "torn": (
        labelled("cat", range(3)),
        labelled("dog", range(3, 6)) | {"train/dog/9.png": b"\x89PNG"},
        ("train",),
        {},
    ),
    "skipped": (
        labelled("cat", range(4)) | labelled("dog", range(4, 8)),
        labelled("dog", range(8, 12)) | {"train/dog/99.png": b"\x89PNG"},
        ("train",),
        {"on_bad_sample": "skip"},
    ),
    "one class": (labelled("cat", range(3)), labelled("cat", range(3, 6)), ("train",), {}),
    "weights": (labelled("cat", range(3)), labelled("dog", range(3)), ("train", "pretrained"), {}),
    "the same": (labelled("cat", range(3)) | labelled("dog", range(3, 6)),) * 2 + (("train",), {}),
}


def write(root: Path, files: Files) -> None:
    for name, content in files.items():
        path = root / DATA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            assert cv2.imwrite(str(path), content)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Answers]:
    """What the two hosts found, by job."""
    root = tmp_path_factory.mktemp("hosts")
    processes = []
    for rank, host in enumerate(HOSTS):
        for name, (*files, sharded, hyperparameters) in JOBS.items():
            write(root / host / name, files[rank])
            declare(root / host / name, host, sharded, **hyperparameters)
        log = root / host / "log"
        asked = (rank, str(root / "store"), tuple(JOBS))
        processes.append(forked.start(found_data.tell_all, *asked, log=log, folder=root / host))
    statuses = [process.wait(100) for process in processes]
    logs = [(root / host / "log").read_text() for host in HOSTS]
    assert statuses == [0, 0], logs
    said = [[json.loads(line) for line in log.splitlines() if line.startswith("{")] for log in logs]
    by_job = dict(zip(JOBS, zip(*said, strict=True), strict=True))
    return lambda name: by_job[name]


def test_classes_of_masks_are_those_of_all_hosts(found: Callable[[str], Answers]) -> None:
    for here in found("masks"):
        assert here["classes"] == [["class_0", 0], ["class_3", 3], ["class_7", 7]]
        assert here["ignore_value"] == 255
        assert here["all"] == here["checked"] == {"train": 10, "validation": 2}
        pixels = np.array([10 * 32, 6 * 32, 4 * 16])
        assert here["weights"] == pytest.approx(pixels.sum() / (3 * pixels), rel=1e-3), "counted on all hosts"
        assert here["shares"]["validation"] == [0, 1]
    first, second = found("masks")
    assert first["here"] == {"train": [f"{number}.png" for number in range(6)], "validation": ["a.png"]}
    assert second["here"] == {"train": [f"{number}.png" for number in range(6, 10)], "validation": ["b.png"]}


@pytest.mark.parametrize(("job", "sevens"), [("a part of the masks", 4), ("a part of the same masks", 1)])
def test_weights_are_of_all_masks_even_if_the_check_reads_a_few(
    found: Callable[[str], Answers], job: str, sevens: int
) -> None:
    pixels = np.array([10 * 32, (10 - sevens) * 32, sevens * 32])
    for here in found(job):
        assert here["checked"]["train"] < 10
        shown = np.array(here["weights"])[[0, 3, 7]]
        assert shown == pytest.approx(pixels.sum() / (3 * pixels), rel=1e-6)


def test_a_class_may_be_on_one_host_alone(found: Callable[[str], Answers]) -> None:
    first, second = found("classes")
    assert first["classes"] == second["classes"] == [["cat", None], ["dog", None]]
    assert first["weights"] == second["weights"] == pytest.approx([8 / 10, 8 / 6])
    assert first["pictures"] == second["pictures"] == {HOSTS[0]: 5, HOSTS[1]: 3}
    assert (len(first["here"]["train"]), len(second["here"]["train"])) == (5, 3)
    assert first["here"]["validation"] == second["here"]["validation"]
    assert (first["shares"]["validation"], second["shares"]["validation"]) == ([0, 2], [1, 2])


def test_what_bad_samples_leave(found: Callable[[str], Answers]) -> None:
    for here in found("skipped"):
        assert sum(here["all"].values()) == 12
        assert "99.png" not in [name for names in here["here"].values() for name in names]


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ("parted", rf"Your input: .*/train/1\.png is on {HOSTS[0]} without its mask: .*1\.png is on {HOSTS[1]}"),
        ("idle", rf"Your input: {HOSTS[1]} has none of the \d training images.*use 1 instead of 2 hosts"),
        ("torn", rf"Your data: on {HOSTS[1]}: 1 of 7 samples cannot be used.*\n.*train/dog/9\.png"),
        ("one class", r"Your data: .*holds a single class folder, 'cat'"),
        ("weights", rf"Your input: on {HOSTS[0]}: .*of pretrained is ShardedByS3Key"),
    ],
)
def test_what_is_wrong_ends_both_hosts(found: Callable[[str], Answers], job: str, problem: str) -> None:
    first, second = found(job)
    assert first == second
    assert re.match(problem, first["error"])


def test_hosts_that_have_the_same_share_it_out(found: Callable[[str], Answers]) -> None:
    first, second = found("the same")
    assert first["here"] == second["here"]
    assert (first["shares"]["train"], second["shares"]["train"]) == ([0, 2], [1, 2])
    assert first["pictures"] == {}
