"""Parts of channels put together, as if all files lay on one host."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import touch

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.formats.scan import Folder, scan
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.data.shards import HostFiles, Shards, list_host
from byoc_vision.errors import InputError
from byoc_vision.job import Channel, Job
from byoc_vision.launch.distributed import Share, World
from byoc_vision.paths import MlPaths
from byoc_vision.training.data_partition import DataPartition

NAMES = ("algo-1", "algo-2", "algo-3")
CLASSES = ("cat", "Dog", "owl 2", "owl 10")
IMAGES = [f"train/{name}/{number}.jpg" for name in CLASSES for number in range(4)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 4 classes with 4 images each. No image is opened."""
    root = tmp_path_factory.mktemp("whole")
    touch(root, *IMAGES)
    return root


def dealt(root: Path, owners: dict[str, int], hosts: int = 2, channels: tuple[str, ...] = ("train",)) -> Shards:
    """What lies below `root`, dealt out. owners: by the file's path below `root`, the host that has it."""

    def part(folder: Folder, host: int) -> Folder:
        files = tuple(
            name for name in folder.files if owners[(folder.path / name).relative_to(root).as_posix()] == host
        )
        inner = tuple(part(below, host) for below in folder.folders)
        return Folder(folder.path, files, tuple(below for below in inner if not below.is_empty))

    return Shards(
        tuple(
            HostFiles(NAMES[host], {name: part(scan(root / name), host) for name in channels}) for host in range(hosts)
        )
    )


def test_no_part_is_the_whole(whole: Path) -> None:
    shards = dealt(whole, {name: index % 2 for index, name in enumerate(IMAGES)})
    assert all(entry.channels["train"] != scan(whole / "train") for entry in shards.hosts)


@given(owners=st.lists(st.integers(0, 2), min_size=len(IMAGES), max_size=len(IMAGES)), seed=st.integers(0, 9))
def test_however_files_are_dealt_out_every_image_keeps_its_class_and_is_had_once(
    whole: Path, owners: list[int], seed: int
) -> None:
    shards = dealt(whole, dict(zip(IMAGES, owners, strict=True)), hosts=3)
    options = DataOptions(seed=seed)
    found = find_dataset(shards.together(), options)
    assert found == find_dataset({"train": whole / "train"}, options), "as if all files lay on one host"
    worlds = [World(rank, 0, 3) for rank in range(3)]
    works = [DataPartition.sharded(found, shards, NAMES[world.rank], world, seed) for world in worlds]
    for split, samples in found.splits.items():
        parts = [work.dataset.splits.get(split, ()) for work in works]
        assert Counter(sample for part in parts for sample in part) == Counter(samples)
        for rank, part in enumerate(parts):
            assert all(owners[IMAGES.index(sample.image.relative_to(whole).as_posix())] == rank for sample in part)
            for sample in part:
                assert sample.label is not None
                assert found.class_names[sample.label] == sample.image.parent.name
    assert [sum(work.images.values()) for work in works] == [len(found.train)] * 3
    assert len({work.digest for work in works}) == 1
    assert len({work.seed for work in works}) == 3


@pytest.fixture
def halves(whole: Path) -> Shards:
    return dealt(whole, {name: index % 2 for index, name in enumerate(IMAGES)})


def test_the_processes_of_a_host_share_out_its_images(halves: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOC_PROCESSES_PER_HOST", "2")
    dataset = find_dataset(halves.together(), DataOptions())
    work = DataPartition.sharded(dataset, halves, "algo-2", World(rank=3, local_rank=1, size=4), seed=0)
    assert work.shares == {"train": Share(1, 2), "validation": Share(1, 2), "test": Share(3, 4)}


def test_what_every_host_has_all_processes_share_out(halves: Shards, whole: Path) -> None:
    touch(whole, *(f"validation/{name}/1.jpg" for name in CLASSES))
    dataset = find_dataset({"validation": whole / "validation", **halves.together()}, DataOptions())
    work = DataPartition.sharded(dataset, halves, "algo-2", World(rank=1, size=2), seed=0)
    assert work.dataset.validation == dataset.validation
    assert work.dataset.class_names == CLASSES
    assert (work.shares["train"], work.shares["validation"]) == (Share(0, 1), Share(1, 2))


def test_only_validation_dealt_out(whole: Path) -> None:
    names = [f"validation/{name}/1.jpg" for name in CLASSES]
    touch(whole, *names)
    shards = dealt(whole, dict.fromkeys(names[:3], 0) | {names[3]: 1}, channels=("validation",))
    dataset = find_dataset({"train": whole / "train", **shards.together()}, DataOptions())
    shards.refuse_idle(dataset)
    work = DataPartition.sharded(dataset, shards, "algo-2", World(rank=1, size=2), seed=7)
    assert work == replace(
        DataPartition.shared(dataset, World(rank=1, size=2), seed=7),
        dataset=replace(dataset, validation=dataset.validation[3:]),
        shares={"train": Share(1, 2), "validation": Share(0, 1), "test": Share(1, 2)},
    )
    assert not work.is_sharded


def test_another_dealing_has_another_digest(whole: Path, halves: Shards) -> None:
    other = dealt(whole, {name: index // 8 for index, name in enumerate(IMAGES)})
    dataset = find_dataset(halves.together(), DataOptions())
    digests = {DataPartition.sharded(dataset, shards, "algo-1", World(size=2), 0).digest for shards in (halves, other)}
    assert len(digests) == 2


def test_hosts_that_all_have_the_same_are_not_sharded(whole: Path) -> None:
    """As in local mode, where a folder is mounted into every container."""
    files = {"train": scan(whole / "train")}
    assert Shards((HostFiles("algo-1", files), HostFiles("algo-2", files))).channels == ()


def test_a_host_without_an_image_is_named(whole: Path) -> None:
    shards = dealt(whole, {name: index % 2 for index, name in enumerate(IMAGES)}, hosts=3)
    with pytest.raises(InputError, match=r"^algo-3 has none of the 13 training images.*use 2 instead of 3 hosts"):
        shards.refuse_idle(find_dataset(shards.together(), DataOptions()))


def masked(root: Path) -> tuple[list[str], Dataset]:
    names = [f"train/{number}.jpg" for number in range(6)] + [f"train_masks/{number}.png" for number in range(6)]
    touch(root, *names)
    return names, find_dataset({path.name: path for path in root.iterdir()}, DataOptions())


def test_an_image_whose_mask_is_on_another_host_is_named(tmp_path: Path) -> None:
    names, _ = masked(tmp_path)
    owners = dict(zip(names, [0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1], strict=True))
    shards = dealt(tmp_path, owners, channels=("train", "train_masks"))
    dataset = find_dataset(shards.together(), DataOptions())
    with pytest.raises(
        InputError,
        match=r"/train/2\.jpg is on algo-1 without its mask: .*/train_masks/2\.png is on algo-2\. The same holds for "
        r"1 of \d.*\(train, train_masks\).*single objects, and each channel on its own.*one prefix.*FullyReplicated",
    ):
        shards.refuse_parted(dataset)


def test_whole_pairs_and_masks_alone_dealt_out_are_fine(tmp_path: Path) -> None:
    names, dataset = masked(tmp_path)
    owners = {name: int(Path(name).stem) % 2 for name in names}
    for channels in (("train", "train_masks"), ("train_masks",)):
        shards = dealt(tmp_path, owners, channels=channels)
        shards.refuse_parted(dataset)
        assert [shards.owner(sample) for sample in dataset.train] == [
            int(sample.image.name[0]) % 2 for sample in dataset.train
        ]


def test_a_list_that_the_first_host_lacks_is_named(tmp_path: Path) -> None:
    names = ["train/1.jpg", "train/2.jpg", "train/labels.csv"]
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=r"/train/labels\.csv is only on algo-2.*train_csv.*FullyReplicated"):
        dealt(tmp_path, dict(zip(names, [0, 1, 1], strict=True))).together()
    assert dealt(tmp_path, dict(zip(names, [0, 1, 0], strict=True))).together()["train"] == scan(tmp_path / "train")


@pytest.mark.parametrize(
    "name", ["train.rec", "classes.json", "trainval.txt", "a.manifest", "a/1.json", "annotations.xml", "data.yaml"]
)
def test_what_samples_are_found_by_must_be_where_they_are_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train/a/1.jpg", f"train/{name}")
    with pytest.raises(InputError, match="only on algo-2"):
        dealt(tmp_path, {"train/a/1.jpg": 0, f"train/{name}": 1}).together()


def test_polygons_of_an_image_on_another_host_are_named(tmp_path: Path) -> None:
    """A text or JSON file for each image, or one for all: each host draws the masks of its own images."""
    names = ["train/images/1.jpg", "train/images/2.jpg", "train/labels/1.txt", "train/labels/2.txt"]
    touch(tmp_path, *names)
    for label in names[2:]:
        (tmp_path / label).write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n", encoding="utf-8")
    shards = dealt(tmp_path, dict(zip(names, [0, 1, 0, 0], strict=True)))
    with pytest.raises(InputError, match=r"2\.jpg is on algo-2 without its mask: .*2\.txt.* is on algo-1.*FullyReplic"):
        shards.refuse_parted(find_dataset(shards.together(), DataOptions()))
    with pytest.raises(InputError, match=r"2\.txt is only on algo-2.*\(YOLO, LabelMe\), use .*FullyReplicated"):
        dealt(tmp_path, dict(zip(names, [0, 1, 0, 1], strict=True))).together()


def test_a_readme_is_not_a_list(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/README.txt")
    assert dealt(tmp_path, {"train/a/1.jpg": 0, "train/README.txt": 1}).together()


def test_a_list_in_a_channel_of_its_own_may_name_files_elsewhere(tmp_path: Path) -> None:
    names = [f"train/{number}.jpg" for number in range(6)]
    touch(tmp_path, *names, "train_lst/train.lst")
    lines = [f"{number}\t{number % 2}\t{number}.jpg" for number in range(6)]
    (tmp_path / "train_lst" / "train.lst").write_text("\n".join(lines))
    shards = dealt(tmp_path, {name: index // 4 for index, name in enumerate(names)})
    dataset = find_dataset({"train_lst": tmp_path / "train_lst", **shards.together()}, DataOptions())
    work = DataPartition.sharded(dataset, shards, "algo-2", World(rank=1, size=2), seed=0)
    assert {sample.image.name for sample in (*work.dataset.train, *work.dataset.validation)} == {"4.jpg", "5.jpg"}


def test_folders_must_have_one_path_on_all_hosts(whole: Path, tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg")
    parts = [
        HostFiles(name, {"train": scan(root / "train")}) for name, root in zip(NAMES, (whole, tmp_path), strict=False)
    ]
    with pytest.raises(InputError, match="use the same --root on all hosts"):
        Shards(tuple(parts)).together()


def job_of(root: Path, *channels: str) -> Job:
    sharded = {name: Channel(name, root / name, s3_distribution="ShardedByS3Key") for name in channels}
    return Job(MlPaths(root), sharded, hosts=("algo-1", "algo-2"), current_host="algo-2")


def test_a_host_lists_its_parts_and_has_none_where_no_folder_came(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg")
    files = list_host(job_of(tmp_path, "train", "test"))
    assert files.host == "algo-2"
    assert files.channels["train"] == scan(tmp_path / "train")
    assert files.channels["test"].is_empty


def test_weights_to_start_from_are_needed_on_every_host(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of pretrained is ShardedByS3Key, but every host needs all of it"):
        list_host(job_of(tmp_path, "train", "pretrained"))
