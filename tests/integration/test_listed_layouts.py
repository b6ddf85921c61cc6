"""Each layout that is a list or a stream: from the channels as SageMaker gives them to an answer of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import listed
from support.jobs import QUICK, read_metrics

from byoc_vision.data import pipe_mode
from byoc_vision.inference.predictor import Classification, Predictor, Segmentation
from byoc_vision.job import Job
from byoc_vision.paths import MlPaths
from byoc_vision.training.main import train_job

CLASSIFIER = {
    "model": "test_resnet",
    "image_size": "32",
    "epochs": "1",
    **QUICK,
    "batch_size": "4",
    "num_workers": "0",
}
SEGMENTER = {
    "model": "unet_small",
    "image_size": "32",
    "epochs": "1",
    **QUICK,
    "batch_size": "4",
    "num_workers": "0",
}
PIPE = {"TrainingInputMode": "Pipe", "RecordWrapperType": "RecordIO", "ContentType": "application/x-recordio"}
TRAIN, VALIDATION = 8, 4


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlPaths:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return MlPaths(tmp_path / "ml")


def train(
    paths: MlPaths, hyperparameters: dict[str, str], channels: dict[str, dict[str, str]] | None = None
) -> Predictor:
    listed.describe_job(paths, hyperparameters, channels or {})
    status = train_job(paths)
    assert status == 0, paths.failure.read_text()
    return Predictor.load(paths.model, "cpu")


def classify(predictor: Predictor) -> tuple[str, ...]:
    """The class names of an answer."""
    [answer] = predictor.predict([listed.draw_image(1, 99)])
    assert isinstance(answer, Classification)
    assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
    return answer.class_names


def segment(predictor: Predictor) -> Segmentation:
    [answer] = predictor.predict([listed.draw_image(1, 99)])
    assert isinstance(answer, Segmentation)
    assert answer.labels.shape == (listed.SIZE, listed.SIZE)
    return answer


def images_used(paths: MlPaths) -> dict[str, int]:
    counts: dict[str, int] = read_metrics(paths)["pictures"]
    return counts


def each_split(paths: MlPaths, fill: Callable[[str, Path, int, int], None]) -> None:
    """Both channels: `fill` takes the split, its folder, how many images, and the first one's number."""
    fill("train", paths.channel("train"), TRAIN, 0)
    fill("validation", paths.channel("validation"), VALIDATION, TRAIN)


def test_lst(paths: MlPaths) -> None:
    """As the built-in Image Classification takes it, with its own hyperparameters."""

    def fill(split: str, folder: Path, count: int, first: int) -> None:
        names = listed.write_images(folder, count, first, name="{0}/image {0}.jpg".format)
        lines = (f"{index}\t{index % 2}\t{name}" for index, name in enumerate(names, first))
        listed.write_lines(paths.channel(f"{split}_lst") / f"{split}.lst", lines)

    each_split(paths, fill)
    built_in = {
        "num_layers": "18",
        "image_shape": "3,32,32",
        "num_classes": "2",
        "num_training_samples": str(TRAIN),
        "mini_batch_size": "4",
        "epochs": "1",
        "use_pretrained_model": "0",
        "num_workers": "0",
        **QUICK,
    }
    assert classify(train(paths, built_in)) == ("class_0", "class_1")
    assert images_used(paths) == {"train": TRAIN, "validation": VALIDATION}


def test_manifest_of_labels(paths: MlPaths) -> None:
    """Ground Truth's output beside the images; class names come from its metadata."""

    def fill(split: str, folder: Path, count: int, first: int) -> None:
        names = listed.write_images(folder, count, first)
        lines = (
            listed.manifest_line(
                name, **{"job": index % 2, "job-metadata": {"class-name": ("red", "green")[index % 2]}}
            )
            for index, name in enumerate(names, first)
        )
        listed.write_lines(folder / "output.manifest", lines)

    each_split(paths, fill)
    assert classify(train(paths, CLASSIFIER)) == ("red", "green")
    assert images_used(paths) == {"train": TRAIN, "validation": VALIDATION}


def test_manifest_of_masks(paths: MlPaths) -> None:
    colours = {"0": {"class-name": "ground", "hex-color": "#ffffff"}, "1": {"class-name": "square"}}

    def fill(split: str, folder: Path, count: int, first: int) -> None:
        names = listed.write_images(folder, count, first)
        masks = listed.write_masks(paths.channel(f"{split}_annotation"), names)
        lines = (
            listed.manifest_line(
                name, **{"mask-ref": f"s3://bucket/out/{mask}", "mask-ref-metadata": {"internal-color-map": colours}}
            )
            for name, mask in zip(names, masks, strict=True)
        )
        listed.write_lines(folder / "output.manifest", lines)

    each_split(paths, fill)
    answer = segment(train(paths, SEGMENTER))
    assert [(entry.name, entry.value) for entry in answer.classes] == [("ground", 0), ("square", 1)]


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_recordio(paths: MlPaths, mode: str) -> None:
    def fill(split: str, folder: Path, count: int, first: int) -> None:
        contents = (((float(index % 2),), listed.jpeg(index % 2, index)) for index in range(first, first + count))
        listed.write_rec(folder / f"{split}.rec", contents)
        (folder / f"{split}.idx").write_text("0\t0\n")
        listed.write_lines(folder / f"{split}.lst", ["0\t0\tsomewhere/else.jpg"])

    each_split(paths, fill)
    declared = {"TrainingInputMode": mode, "ContentType": "application/x-recordio"}
    predictor = train(paths, CLASSIFIER, {"train": declared, "validation": declared})
    assert classify(predictor) == ("class_0", "class_1")
    assert images_used(paths) == {"train": TRAIN, "validation": VALIDATION}


def test_csv_of_labels(paths: MlPaths) -> None:
    """Kaggle's dog breeds: labels.csv with ids, the images in train/, others without a label in test/."""
    folder = paths.channel("training")
    listed.write_images(folder / "train", 10, name="{:032x}.jpg".format)
    listed.write_images(folder / "test", 2, first=20, name="{:032x}.jpg".format)
    rows = (f"{index:032x},{('pug', 'beagle')[index % 2]}" for index in range(10))
    listed.write_lines(folder / "labels.csv", ["id,breed", *rows])
    listed.write_lines(folder / "sample_submission.csv", ["id,beagle,pug", f"{20:032x},0.5,0.5"])
    assert classify(train(paths, CLASSIFIER)) == ("beagle", "pug")
    assert images_used(paths) == {"train": 8, "validation": 2}


def test_a_chosen_column_of_a_csv(paths: MlPaths) -> None:
    """HAM10000: names without ending in `image_id`, the diagnosis in `dx`, beside columns of other facts."""
    folder = paths.channel("training")
    listed.write_images(folder, 10, name="ISIC_{:07}.jpg".format)
    rows = (f"L{index // 2},ISIC_{index:07},{('mel', 'nv')[index % 2]},{30 + index % 3}" for index in range(10))
    listed.write_lines(folder / "HAM10000_metadata.csv", ["lesion_id,image_id,dx,age", *rows])
    assert classify(train(paths, CLASSIFIER | {"label_column": "dx"})) == ("mel", "nv")
    assert images_used(paths) == {"train": 8, "validation": 2}


def test_csv_of_masks(paths: MlPaths) -> None:
    folder = paths.channel("train")
    names = listed.write_images(folder / "photos", TRAIN)
    masks = listed.write_masks(folder / "target", names)
    rows = (
        f"photos/{name};target/{mask};{'val' if index >= 6 else 'train'};{index // 2}"
        for index, (name, mask) in enumerate(zip(names, masks, strict=True))
    )
    listed.write_lines(folder / "pairs.csv", ["\ufeffimage;mask;split;group", *rows])
    answer = segment(train(paths, SEGMENTER))
    assert [(entry.name, entry.value) for entry in answer.classes] == [("background", 0), ("foreground", 1)]
    assert images_used(paths) == {"train": 6, "validation": 2}


def test_pipe_of_labels(paths: MlPaths) -> None:
    """AttributeNames=["source-ref", "class"], as both built-in algorithms take it."""
    writers = []
    for split, count, first in (("train", TRAIN, 0), ("validation", VALIDATION, TRAIN)):
        pairs = ((listed.jpeg(index % 2, index), f"{index % 2}".encode()) for index in range(first, first + count))
        content = listed.records(part for pair in pairs for part in pair)
        writers.append(listed.stream(paths.pipe(split, 0), content))
    assert classify(train(paths, CLASSIFIER, {"train": PIPE, "validation": PIPE})) == ("class_0", "class_1")
    assert images_used(paths) == {"train": TRAIN, "validation": VALIDATION}
    assert not any(writer.is_alive() for writer in writers)
    assert list((paths.root.parent / "tmp").iterdir()) == []


def test_pipe_of_masks(paths: MlPaths) -> None:
    for split, count, first in (("train", TRAIN, 0), ("validation", VALIDATION, TRAIN)):
        pairs = ((listed.jpeg(index % 2, index), listed.png_mask()) for index in range(first, first + count))
        listed.stream(paths.pipe(split, 0), listed.records(part for pair in pairs for part in pair))
    answer = segment(train(paths, SEGMENTER, {"train": PIPE, "validation": PIPE}))
    assert set(np.unique(answer.mask)) <= {0, 1}
    assert images_used(paths) == {"train": TRAIN, "validation": VALIDATION}


def test_a_process_that_torchrun_started_finds_the_pipe_read(paths: MlPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = ((listed.jpeg(index % 2, index), f"{index % 2}".encode()) for index in range(TRAIN))
    listed.stream(paths.pipe("train", 0), listed.records(part for pair in pairs for part in pair))
    listed.describe_job(paths, CLASSIFIER, {"train": PIPE})
    pipe_mode.copy_to_disk(Job.load(paths))
    monkeypatch.setenv("RANK", "0")
    assert train_job(paths) == 0
    assert images_used(paths) == {"train": 6, "validation": 2}


def test_a_pipe_that_closes_within_a_record_fails_the_job_by_name(paths: MlPaths) -> None:
    content = listed.records([listed.jpeg(0, 0), b"0", listed.jpeg(1, 1)])
    listed.stream(paths.pipe("train", 0), content[:-500])
    listed.describe_job(paths, CLASSIFIER, {"train": PIPE})
    assert train_job(paths) == 3
    failure = paths.failure.read_text()
    assert failure.startswith("Your data: the pipe of the channel train, record 3 is cut off: ")
    assert failure.endswith("; check that all objects of the channel can be read, and start the job again")


def test_lists_with_several_labels(paths: MlPaths) -> None:
    """multi_label=1 of the built-in: a 0 or a 1 for each class; the answer is a probability for each."""

    def fill(split: str, folder: Path, count: int, first: int) -> None:
        names = listed.write_images(folder, count, first)
        lines = (f"{index}\t{index % 2}\t1\t{(index + 1) % 2}\t{name}" for index, name in enumerate(names, first))
        listed.write_lines(folder / f"{split}.lst", lines)

    each_split(paths, fill)
    [answer] = train(paths, CLASSIFIER | {"multi_label": "1"}).predict([listed.draw_image(1, 99)])
    assert isinstance(answer, Classification)
    assert answer.class_names == ("class_0", "class_1", "class_2")
    assert all(0 < probability < 1 for probability in answer.probabilities)


def test_manifests_with_several_labels(paths: MlPaths) -> None:
    """Ground Truth's multi-label job: lists of class numbers, and their names in `class-map`."""

    def fill(split: str, folder: Path, count: int, first: int) -> None:
        names = listed.write_images(folder, count, first)
        lines = (
            listed.manifest_line(
                name,
                **{
                    "job": sorted({2, index % 2}),
                    "job-metadata": {"class-map": {"0": "red", "1": "green", "2": "square"}},
                },
            )
            for index, name in enumerate(names, first)
        )
        listed.write_lines(folder / "output.manifest", lines)

    each_split(paths, fill)
    [answer] = train(paths, CLASSIFIER).predict([listed.draw_image(1, 99)])
    assert isinstance(answer, Classification)
    assert answer.class_names == ("red", "green", "square")


def test_a_pipe_with_several_labels(paths: MlPaths) -> None:
    for split, count, first in (("train", TRAIN, 0), ("validation", VALIDATION, TRAIN)):
        pairs = (
            (listed.jpeg(index % 2, index), f"[1,{index % 2},0]".encode()) for index in range(first, first + count)
        )
        listed.stream(paths.pipe(split, 0), listed.records(part for pair in pairs for part in pair))
    predictor = train(paths, CLASSIFIER | {"num_classes": "3"}, {"train": PIPE, "validation": PIPE})
    [answer] = predictor.predict([listed.draw_image(1, 99)])
    assert isinstance(answer, Classification)
    assert answer.class_names == ("class_0", "class_1", "class_2")
