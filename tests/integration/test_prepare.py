"""`byoc-vision prepare`: from the archives that people download to channels that train as the original would."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import signal
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.datasets import (
    BREEDS,
    camvid_tree,
    carvana_strays,
    carvana_tree,
    class_folders_tree,
    oxford_pets_tree,
    polyvore_tree,
    semantic_segmentation_tree,
)
from support.jobs import QUICK, run_train, write_hyperparameters
from support.listed import jpeg, manifest_line, write_images, write_lines, write_masks, write_rec

from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.data.formats import find_dataset
from byoc_vision.data.formats.channels import channels_in
from byoc_vision.data.preflight import check
from byoc_vision.data.sample_data import make_segmentation_set
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.data.targets import read_mask_values
from byoc_vision.paths import MlPaths

SEED = 42


def lst_tree(folder: Path) -> None:
    """The channels of the built-in Image Classification, with lists apart; images of one name in two folders."""
    for split, count in (("train", 6), ("validation", 4)):
        names = write_images(folder / split, count, len(split), lambda index: f"{index % 2}/{index // 2}.jpg")
        lines = [f"{index}\t{name[0]}\t{name}" for index, name in enumerate(names)]
        write_lines(folder / f"{split}_lst" / f"{split}.lst", lines)


def manifest_tree(folder: Path) -> None:
    lines = []
    for name in write_images(folder, 8):
        label = int(Path(name).stem) % 2
        metadata = {"class-name": ("red/dark", "green")[label], "type": "groundtruth/image-classification"}
        lines.append(manifest_line(name, colour=label, colour_metadata=metadata))
    write_lines(folder / "output.manifest", lines)


def csv_tree(folder: Path) -> None:
    names = write_images(folder, 10)
    labels = ("red|wide", "green", "green|blue|wide", "red")
    write_lines(folder / "labels.csv", ["image,labels", *(f"{name},{labels[at % 4]}" for at, name in enumerate(names))])


def pairs_tree(folder: Path) -> None:
    names = write_images(folder, 6)
    masks = write_masks(folder / "target", names)
    pairs = [f"{name},target/{mask}" for name, mask in zip(names, masks, strict=True)]
    write_lines(folder / "pairs.csv", ["image,mask", *pairs])


def recordio_tree(folder: Path) -> None:
    for split, numbers in (("train", range(6)), ("validation", range(6, 10))):
        write_rec(
            folder / split / f"{split}.rec", (((float(number % 2),), jpeg(number % 2, number)) for number in numbers)
        )


TREES: dict[str, tuple[Callable[[Path], object], DataOptions]] = {
    "carvana": (lambda folder: carvana_strays(carvana_tree(folder)), DataOptions(layout="carvana", seed=SEED)),
    "pets": (oxford_pets_tree, DataOptions(layout="oxford_pets", seed=SEED)),
    "pets, border": (oxford_pets_tree, DataOptions(layout="oxford_pets", trimap_border="class", seed=SEED)),
    "breeds": (oxford_pets_tree, DataOptions(layout="oxford_pets", task="classification", seed=SEED)),
    "pets nested": (lambda folder: oxford_pets_tree(folder / "oxford-iiit-pet"), DataOptions(seed=SEED)),
    "dogs": (
        lambda folder: class_folders_tree(folder / "dogImages"),
        DataOptions(layout="class_folders", seed=SEED),
    ),
    "polyvore": (polyvore_tree, DataOptions(layout="polyvore", min_class_count=1, seed=SEED)),
    "camvid": (lambda folder: camvid_tree(folder / "CamVid"), DataOptions(layout="camvid", seed=SEED)),
    "built-in": (
        lambda folder: semantic_segmentation_tree(folder, {"map": {"0": 10, "1": 20}}, (10, 20, 255)),
        DataOptions(layout="semantic_segmentation", seed=SEED),
    ),
    "lst": (lst_tree, DataOptions(layout="lst", seed=SEED)),
    "manifest": (manifest_tree, DataOptions(layout="manifest", seed=SEED)),
    "several labels": (csv_tree, DataOptions(layout="csv", seed=SEED)),
    "pairs": (pairs_tree, DataOptions(layout="csv", seed=SEED)),
    "recordio": (recordio_tree, DataOptions(layout="recordio", seed=SEED)),
    "scenes": (
        lambda folder: make_segmentation_set(folder, count_train=4, count_validation=2, size=32),
        DataOptions(layout="pictures_and_masks", seed=SEED),
    ),
}


def pack(tree: Path, kind: str) -> Path:
    return Path(shutil.make_archive(str(tree), kind, tree))


def prepare(sources: list[Path], output: Path, options: DataOptions, *more: str) -> int:
    arguments = ["prepare", options.layout, "--output", str(output), "--seed", str(options.seed)]
    arguments += ["--task", options.task, "--trimap-border", options.trimap_border]
    if options.min_class_count is not None:
        arguments += ["--min-class-count", str(options.min_class_count)]
    for source in sources:
        arguments += ["--source", str(source)]
    return main([*arguments, *more])


def found(channels: dict[str, Path], options: DataOptions) -> Dataset:
    return check(find_dataset(channels, options), options).dataset


def channels_of(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir() if path.is_dir()}


def fingerprints(dataset: Dataset) -> dict[str, Counter[tuple[str, str]]]:
    """Each split's samples: the bytes of the image, and the class or the values of the mask."""

    def target(sample: Sample) -> str:
        if sample.mask is None:
            labels = sample.labels if sample.label is None else (sample.label,)
            assert labels is not None
            return "|".join(sorted(dataset.class_names[label] for label in labels))
        values = read_mask_values(sample)
        return f"{values.shape} {hashlib.sha256(values.tobytes()).hexdigest()}"

    return {
        split: Counter((hashlib.sha256(sample.image.read_bytes()).hexdigest(), target(sample)) for sample in samples)
        for split, samples in dataset.splits.items()
    }


@pytest.mark.parametrize("kind", ["zip", "gztar"])
@pytest.mark.parametrize("name", TREES)
def test_what_is_prepared_is_what_was_there(name: str, kind: str, tmp_path: Path) -> None:
    make, options = TREES[name]
    tree = tmp_path / "data"
    make(tree)
    original = found(channels_in(tree), options)
    assert prepare([pack(tree, kind)], tmp_path / "out", options) == 0
    prepared = found(channels_of(tmp_path / "out"), DataOptions())
    assert (prepared.task, prepared.multi_label) == (original.task, original.multi_label)
    assert prepared.classes == original.classes
    assert prepared.ignore_value == original.ignore_value
    assert fingerprints(prepared) == fingerprints(original)
    # One folder with all channels is read alike, and what is clean stays as it is.
    assert fingerprints(found({"train": tmp_path / "out"}, DataOptions())) == fingerprints(original)
    assert prepare([tmp_path / "out"], tmp_path / "again", DataOptions()) == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "dataset.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_no_car_is_on_both_sides(tmp_path: Path) -> None:
    tree = carvana_tree(tmp_path / "data", cars=6, views=3)
    assert prepare([pack(tree, "zip")], tmp_path / "out", DataOptions(layout="carvana")) == 0
    cars = {
        split: {path.stem.split("_")[0] for path in (tmp_path / "out" / split).glob("*.jpg")}
        for split in ("train", "validation")
    }
    assert cars["train"]
    assert cars["validation"]
    assert not cars["train"] & cars["validation"]


def test_carvana_as_kaggle_packs_it(tmp_path: Path) -> None:
    """Archives in an archive; those of the images without masks are broken here: they are never read."""
    tree = carvana_tree(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "carvana-image-masking-challenge.zip", "w") as file:
        for part in ("train", "train_masks"):
            inner = shutil.make_archive(str(tmp_path / part), "zip", tree, part)
            file.write(inner, f"{part}.zip")
        file.writestr("test.zip", "broken")
        file.writestr("train_hq.zip", "broken")
        file.writestr("29bb3ece3180_11.jpg", "a stray")
        file.writestr("metadata.csv.zip", empty_zip())
    sources = [tmp_path / "carvana-image-masking-challenge.zip"]
    assert prepare(sources, tmp_path / "out", DataOptions(layout="carvana")) == 0
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == len(list((tmp_path / "out").rglob("*.png"))) == 8


def empty_zip() -> bytes:
    file = io.BytesIO()
    zipfile.ZipFile(file, "w").close()
    return file.getvalue()


def test_the_pets_two_archives(tmp_path: Path) -> None:
    tree = oxford_pets_tree(tmp_path / "data")
    sources = [
        Path(shutil.make_archive(str(tmp_path / part), "gztar", tree, part)) for part in ("images", "annotations")
    ]
    options = DataOptions(layout="oxford_pets", task="classification")
    assert prepare(sources, tmp_path / "out", options) == 0
    assert sorted(os.listdir(tmp_path / "out/train")) == sorted(
        [*(name.replace("_", " ") for name in BREEDS), "classes.json"]
    )
    # The originals' PNG and GIF files that are called .jpg
    endings = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert endings == {".jpg", ".png", ".gif", ".json"}


def test_a_class_name_with_a_slash(tmp_path: Path) -> None:
    tree = polyvore_tree(tmp_path / "data")
    names = tree / "category_id.txt"
    names.write_text(names.read_text().replace("Coats & Jackets", "Coats/Jackets"))
    options = DataOptions(layout="polyvore", min_class_count=1)
    assert prepare([pack(tree, "zip")], tmp_path / "out", options) == 0
    assert (tmp_path / "out/train/Coats_Jackets").is_dir()
    assert "Coats/Jackets" in found(channels_of(tmp_path / "out"), DataOptions()).class_names


def train(channels: Path, job: Path, **hyperparameters: str) -> artifact.ModelConfig:
    paths = MlPaths(job)
    shutil.copytree(channels, paths.channels)
    asked = {
        "epochs": "1",
        **QUICK,
        "batch_size": "4",
        "num_workers": "0",
        "image_size": "32",
        **hyperparameters,
    }
    write_hyperparameters(paths, asked)
    assert run_train(paths) == 0
    return artifact.load(paths.model)[0]


def test_a_prepared_segmentation_trains_as_it_is(tmp_path: Path) -> None:
    tree = camvid_tree(tmp_path / "CamVid")
    assert prepare([pack(tree, "gztar")], tmp_path / "out", DataOptions(layout="camvid")) == 0
    config = train(tmp_path / "out", tmp_path / "job", model="unet_small")
    assert [(entry.name, entry.value) for entry in config.classes][7:9] == [("fence", 7), ("car", 8)]
    assert len(config.classes) == 11


def test_prepared_class_folders_train_as_they_are(tmp_path: Path) -> None:
    tree = polyvore_tree(tmp_path / "data")
    options = DataOptions(layout="polyvore", min_class_count=1)
    assert prepare([pack(tree, "zip")], tmp_path / "out", options) == 0
    config = train(tmp_path / "out", tmp_path / "job", model="resnet10t")
    assert config.class_names == ("Dresses", "Coats & Jackets", "Shoes")


class TestRefusals:
    """The exit status says whose matter it is, the log names archive and member, and nothing is left behind."""

    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        return class_folders_tree(tmp_path / "tree", counts={"train": 2, "valid": 1})

    def refusal(self, archive: Path, status: int, capsys: pytest.CaptureFixture[str]) -> str:
        before = sorted(os.listdir(archive.parent))
        assert prepare([archive], archive.parent / "out", DataOptions(layout="class_folders")) == status
        assert sorted(os.listdir(archive.parent)) == before
        printed = capsys.readouterr()
        return printed.out + printed.err

    def test_a_zip_that_leaves_the_folder(
        self, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        archive = pack(images, "zip")
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("../../evil.sh", "#!/bin/sh")
        log = self.refusal(archive, 3, capsys)
        assert f"{archive} is not unpacked:\n  - ../../evil.sh leads out of the folder" in log

    @pytest.mark.parametrize(
        ("name", "kind", "target"),
        [
            ("../evil.sh", tarfile.REGTYPE, ""),
            ("link", tarfile.SYMTYPE, "../../../etc"),
            ("link", tarfile.LNKTYPE, "/etc/passwd"),
            ("device", tarfile.CHRTYPE, ""),
            ("train/001.Affenpinscher/Affenpinscher_00001.jpg", tarfile.REGTYPE, ""),
        ],
    )
    def test_a_tar_with_a_bad_member(
        self,
        name: str,
        kind: bytes,
        target: str,
        images: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as file:
            file.add(images, "")
            file.addfile(member)
        log = self.refusal(tmp_path / "data.tar.gz", 3, capsys)
        assert f"data.tar.gz is not unpacked: {name} is " in log or f"{name} leads out of the folder" in log

    def test_a_download_that_broke_off(self, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        archive = pack(images, "gztar")
        archive.write_bytes(archive.read_bytes()[:-2000])
        assert "it is cut short or damaged" in self.refusal(archive, 3, capsys)

    def test_an_unknown_layout(self, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["prepare", "cocoa", "--source", str(images), "--output", str(tmp_path / "out")]) == 2
        assert "cocoa is not known; use one of auto, " in capsys.readouterr().out
        assert os.listdir(tmp_path) == ["tree"]


class _CtrlC(logging.Handler):
    """Interrupts this process once, at the first message."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).removeHandler(self)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "logger", ["byoc_vision.data.prepare", "byoc_vision.data.formats", "byoc_vision.data.preflight.check"]
)
def test_ctrl_c_leaves_nothing(logger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = pack(carvana_tree(tmp_path / "data"), "zip")
    before = sorted(os.listdir(tmp_path))
    handler = _CtrlC()
    logging.getLogger(logger).addHandler(handler)
    # Programs that a shell starts in the background ignore the signal.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert prepare([archive], tmp_path / "out", DataOptions(layout="carvana")) == 130
    finally:
        signal.signal(signal.SIGINT, previous)
        logging.getLogger(logger).removeHandler(handler)
    assert sorted(os.listdir(tmp_path)) == before
    assert "Interrupted" in capsys.readouterr().out


@pytest.mark.real_data
def test_real_thumbnails_from_an_archive(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cars.tar", "w") as file:
        for part in sorted(path for path in (shared_data / "carvana-thumbnails").iterdir() if path.is_dir()):
            file.add(part, part.name)
    assert prepare([tmp_path / "cars.tar"], tmp_path / "out", DataOptions()) == 0
    record = json.loads((tmp_path / "out/dataset.json").read_text())
    assert sum(record["pictures"].values()) == 318
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (tmp_path / "out").rglob("*.png")]
    assert len(masks) == 318
    assert {mask.dtype for mask in masks} == {np.dtype(np.uint8)}
