"""Data sets and exports with a mask file for each image or each class, by the names that they are published with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.drawn import checked, labels, names, save_images, write_json
from support.images import draw_scene, save_image

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

SIDE = 24
CITIES = ("aachen", "bochum")


def halves(upper: int, lower: int) -> np.ndarray:
    mask = np.full((SIDE, SIDE), lower, np.uint8)
    mask[: SIDE // 2] = upper
    return mask


def save(path: Path, seed: int) -> None:
    save_image(path, draw_scene(seed, SIDE, SIDE)[0])


def cityscapes(folder: Path, end: str = "labelIds", upper: int = 23) -> Path:
    """Sky (id 23) above road (7), and a row of the ego vehicle (1); the test masks are empty, as published."""
    for number, split in enumerate(("train", "val", "test")):
        for city in CITIES:
            for index in range(2):
                stem = f"{city}_{index:06}_000019"
                save(folder / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", 100 * number + len(city) + index)
                mask = halves(upper, 7) if split != "test" else halves(3, 3)
                mask[-1] = 1
                save_image(folder / f"gtFine/{split}/{city}/{stem}_gtFine_{end}.png", mask)
                save_image(folder / f"gtFine/{split}/{city}/{stem}_gtFine_color.png", np.dstack([mask] * 3))
    return folder


def test_cityscapes_has_its_19_classes(tmp_path: Path) -> None:
    dataset = checked(cityscapes(tmp_path))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 4, "validation": 4}
    assert len(dataset.classes) == 19
    assert dataset.classes[10] == ClassInfo("sky", 10, "#4682b4")
    mask = labels(dataset)
    assert (mask[0, 0], mask[-2, 0], mask[-1, 0]) == (10, 0, 255)


def test_the_train_ids_of_cityscapes_are_read_as_they_are(tmp_path: Path) -> None:
    mask = labels(checked(cityscapes(tmp_path, "labelTrainIds", upper=10)))
    assert (mask[0, 0], mask[-2, 0], mask[-1, 0]) == (10, 7, 1)


def test_images_of_cityscapes_without_a_mask_are_named(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    (tmp_path / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"aachen_000001_000019_leftImg8bit.png"):
        checked(tmp_path)
    assert len(find_dataset({"train": tmp_path}, DataOptions(on_bad_sample="skip")).train) == 3


def test_ade20k_ignores_what_has_no_class(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        for index in range(3):
            stem = f"ADE_{split[:5]}_{index:08}"
            save(tmp_path / f"images/{split}/{stem}.jpg", index + 50 * len(split))
            save_image(tmp_path / f"annotations/{split}/{stem}.png", halves(3, 0))
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName", "1\t0.1\t11\t1\t1\twall", "3\t0.1\t8\t8\t1\tsky, heaven"]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows), encoding="utf-8")
    dataset = checked(tmp_path)
    assert (len(dataset.train), len(dataset.validation)) == (3, 3)
    assert (len(dataset.classes), dataset.ignore_value) == (150, 0)
    assert dataset.classes[:3] == (ClassInfo("wall", 1), ClassInfo("class_2", 2), ClassInfo("sky", 3))


def test_mmsegmentation(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for index in range(3):
            save(tmp_path / f"img_dir/{split}/{index}.jpg", index + 50 * len(split))
            mask = halves(2, 1)
            mask[-1], mask[0] = 255, 0
            save_image(tmp_path / f"ann_dir/{split}/{index}.png", mask)
    dataset = checked(tmp_path)
    assert (len(dataset.train), len(dataset.validation)) == (3, 3)
    assert ([entry.value for entry in dataset.classes], dataset.ignore_value) == ([0, 1, 2], 255)


def test_the_masks_of_roboflow(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "valid", "test")):
        for index in range(3):
            stem = f"{index}_jpg.rf.abc{index}"
            save(tmp_path / split / f"{stem}.jpg", index + 50 * number)
            save_image(tmp_path / split / f"{stem}_mask.png", halves(1, 0))
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, ball\n", encoding="utf-8")
    dataset = checked(tmp_path)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {
        "train": 3,
        "validation": 3,
        "test": 3,
    }
    assert dataset.classes == (ClassInfo("background", 0), ClassInfo("ball", 1))


@pytest.fixture(params=["masks/{1}/{0}.png", "masks/{0}_{1}.png"])
def class_masks(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Each image has a car above; all but the first have a tree below, which reaches into the car."""
    for index in range(6):
        save(tmp_path / f"images/img_{index}.jpg", index)
        save_image(tmp_path / request.param.format(f"img_{index}", "car"), halves(255, 0))
        if index:
            tree = halves(0, 255)
            tree[SIDE // 2 - 1] = 255
            save_image(tmp_path / request.param.format(f"img_{index}", "tree"), tree)
    return tmp_path


def test_a_mask_for_each_class(class_masks: Path) -> None:
    dataset = checked(class_masks)
    assert names(dataset) == ["background", "car", "tree"]
    mask = labels(dataset, lambda image: image.stem != "img_0")
    assert mask[:, 0].tolist() == [1] * (SIDE // 2 - 1) + [2] * (SIDE // 2 + 1)
    samples = read_folder(class_masks, "segmentation", (ClassInfo("tree", 0), ClassInfo("background", 1)))
    assert set(np.unique(read_mask_values(samples[1]))) == {0, 255}
    assert read_mask_values(samples[0])[-1, 0] == 1, "what no mask marks"


def test_images_without_a_mask_of_any_class(class_masks: Path) -> None:
    save(class_masks / "images/img_9.jpg", 99)
    with pytest.raises(DataError, match=r"images without a mask of any class.*\n.*img_9.jpg"):
        checked(class_masks)


def test_numbered_masks_are_objects(tmp_path: Path) -> None:
    for index in range(6):
        save(tmp_path / f"images/{index}.jpg", index)
        for part in range(2):
            save_image(
                tmp_path / f"masks/{index}_{part}.png", halves(255 * part, 255 - 255 * part)[:, ::-1] // (1 + part)
            )
    assert names(checked(tmp_path)) == ["background", "foreground"]


def test_the_masks_of_label_studio(tmp_path: Path) -> None:
    tasks = []
    for task in range(11, 16):
        name = f"1a2b3c{task}-street.jpg"
        save_images(tmp_path / "images", [name])
        tasks.append({"id": task, "data": {"image": f"/data/upload/1/{name}"}, "annotations": []})
        for label, mask in (("car", (255, 0)), ("tree", (0, 255))):
            path = tmp_path / f"task-{task}-annotation-3-by-1-tag-{label}-0.png"
            save_image(path, np.repeat(np.array([[mask[0]], [mask[1]]], np.uint8), 16, axis=0).repeat(48, axis=1))
    with pytest.raises(DataError, match="task 11: there is no image '11'"):
        checked(tmp_path)
    write_json(tmp_path / "project-1.json", tasks)
    dataset = checked(tmp_path)
    assert names(dataset) == ["background", "car", "tree"]
    assert labels(dataset)[:, 0].tolist() == [1] * 16 + [2] * 16
