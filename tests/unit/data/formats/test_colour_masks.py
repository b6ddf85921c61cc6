"""Masks whose colours are the classes: named by a table beside them, by the user, or by the colours themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.images import draw_scene, save_image

from byoc_vision.colours import parse_mask_colours, split
from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.mask_colours import voc_colour
from byoc_vision.data.preflight import check
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

BLACK, RED, GREEN, BORDER = (0, 0, 0), (128, 0, 0), (0, 128, 0), (224, 224, 192)

LABEL_MAP = "# label:color_rgb:parts:actions\ntree:0,128,0::\nbackground:0,0,0::\ncar:128,0,0::\n"
CLASS_DICT = "name,r,g,b\ntree,0,128,0\nbackground,0,0,0\ncar,128,0,0\n"
CLASSES = [
    {"name": "tree", "color": "#008000"},
    {"name": "background", "color": "#000000"},
    {"name": "car", "color": "#800000"},
]


def coloured(inside: np.ndarray, colour: tuple[int, int, int] = RED) -> np.ndarray:
    """The ellipse in its colour, the first row green."""
    mask = np.zeros((*inside.shape, 3), np.uint8)
    mask[inside], mask[0] = colour, GREEN
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images with masks in red, green and black."""
    for index in range(6):
        image, inside = draw_scene(index)
        save_image(tmp_path / f"images/{index}.jpg", image)
        save_image(tmp_path / f"masks/{index}.png", coloured(inside))
    return tmp_path


def checked(folder: Path, **options: object) -> Dataset:
    chosen = DataOptions(**options)  # type: ignore[arg-type]
    return check(find_dataset({"train": folder}, chosen), chosen).dataset


def classes(dataset: Dataset) -> list[tuple[str, int | None, str | None]]:
    return [(entry.name, entry.value, entry.color) for entry in dataset.classes]


def first_mask(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The labels of an image, and where its ellipse is."""
    sample = next(sample for sample in (*dataset.train, *dataset.validation) if sample.image.name == "0.jpg")
    return read_mask_values(sample), draw_scene(0)[1]


def test_without_a_table_each_colour_is_a_class(folder: Path) -> None:
    dataset = checked(folder)
    assert classes(dataset) == [("#000000", 0, "#000000"), ("#008000", 1, "#008000"), ("#800000", 2, "#800000")]
    labels, inside = first_mask(dataset)
    assert (labels[inside] == 2).all()
    assert (labels[0] == 1).all()
    assert (labels[1:][~inside[1:]] == 0).all()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labelmap.txt", LABEL_MAP),
        ("class_dict.csv", CLASS_DICT),
        ("masks/class_dict.csv", CLASS_DICT),
        ("label_colors.txt", "0 128 0\ttree\n0 0 0\tbackground\n128 0 0\tcar\n"),
        ("_classes.csv", "class,color\ntree,#008000\nbackground,#000000\ncar,#800000\n"),
        ("classes.json", json.dumps(CLASSES)),
        ("meta.json", json.dumps({"classes": [{"title": one["name"], "color": one["color"]} for one in CLASSES]})),
        ("classes.json", json.dumps({"tree": [0, 128, 0], "background": [0, 0, 0], "car": [128, 0, 0]})),
        (
            "color_map.json",
            json.dumps({str(i): {"class-name": e["name"], "hex-color": e["color"]} for i, e in enumerate(CLASSES)}),
        ),
    ],
)
def test_a_table_names_the_classes(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    dataset = checked(folder)
    assert classes(dataset) == [("tree", 0, "#008000"), ("background", 1, "#000000"), ("car", 2, "#800000")]
    labels, inside = first_mask(dataset)
    assert (labels[inside] == 2).all()


def test_the_user_names_the_classes_and_what_is_ignored(folder: Path) -> None:
    (folder / "labelmap.txt").write_text(LABEL_MAP, encoding="utf-8")
    dataset = checked(folder, mask_colors=parse_mask_colours("ignore=#008000, ground=#000000, thing=#800000"))
    assert classes(dataset) == [("ground", 0, "#000000"), ("thing", 1, "#800000")]
    assert dataset.ignore_value == 255
    assert (first_mask(dataset)[0][0] == 255).all()


def test_a_class_may_have_several_colours(folder: Path) -> None:
    dataset = checked(folder, mask_colors=parse_mask_colours("ground=#000000, thing=#800000, thing=#008000"))
    assert classes(dataset) == [("ground", 0, "#000000"), ("thing", 1, "#800000")]
    labels, inside = first_mask(dataset)
    assert (labels[inside] == 1).all()
    assert (labels[0] == 1).all()


def test_more_colours_than_labels_of_8_bits_are_refused_with_the_remedy(folder: Path) -> None:
    for index in range(6):
        mask = np.zeros((32, 48, 3), np.uint8)
        mask[:5] = np.array([split(voc_colour(label + index % 2 * 15)) for label in range(240)]).reshape(5, 48, 3)
        save_image(folder / f"masks/{index}.png", mask)
    with pytest.raises(
        DataError, match=r"hold 255 colours, and masks can have 254 classes.* join some with mask_colors"
    ):
        checked(folder)


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_colours_saved_with_loss_are_refused(folder: Path, ending: str) -> None:
    """They would be a class for each trace of compression."""
    for index in range(6):
        mask = Image.open(folder / f"masks/{index}.png").convert("RGB")
        (folder / f"masks/{index}.png").unlink()
        mask.resize((480, 320), Image.Resampling.NEAREST).save(folder / f"masks/{index}.{ending}", quality=100)
        image = Image.open(folder / f"images/{index}.jpg")
        image.resize((480, 320)).save(folder / f"images/{index}.jpg")
    with pytest.raises(DataError, match=r"colours.* Save masks as PNG"):
        checked(folder)


def test_soft_edges_between_colours_are_refused(folder: Path) -> None:
    for index in range(6):
        mask = Image.open(folder / f"masks/{index}.png").convert("RGB")
        soft = mask.resize((480, 320), Image.Resampling.NEAREST).resize((48, 32), Image.Resampling.BILINEAR)
        soft.rotate(0.7, Image.Resampling.BILINEAR).save(folder / f"masks/{index}.png")
    with pytest.raises(DataError, match=r"many rare ones lie between or around others: soft edges or compression"):
        checked(folder)


def test_a_palette_of_many_classes_is_not_noise(folder: Path) -> None:
    """The colours of Pascal VOC for 64 classes, without its border; most of them are rare."""
    for index in range(6):
        mask = np.zeros((32, 48, 3), np.uint8)
        for label in range(64):
            mask[label // 4, 4 * (label % 4)] = split(voc_colour(label))
        save_image(folder / f"masks/{index}.png", mask)
    assert len(checked(folder).classes) == 64


class TestPalettesThatDiffer:
    """The masks show the same colours, but the numbers of the colours differ."""

    @pytest.fixture
    def shuffled(self, folder: Path) -> Path:
        for index in range(6):
            order = (0, 1) if index % 2 else (1, 0)
            mask = Image.fromarray(np.where(draw_scene(index)[1], order[1], order[0]).astype(np.uint8), "P")
            palette = [BLACK, RED] if index % 2 else [RED, BLACK]
            mask.putpalette([level for colour in palette for level in colour])
            mask.save(folder / f"masks/{index}.png")
        return folder

    def test_they_are_an_error_with_both_remedies(self, shuffled: Path) -> None:
        with pytest.raises(DataError, match=r"palettes of masks differ: #\w+ is . in .*mask_colors.*num_classes"):
            checked(shuffled)

    def test_the_user_says_that_colours_count(self, shuffled: Path) -> None:
        dataset = checked(shuffled, mask_colors=parse_mask_colours("ground=#000000, thing=#800000"))
        labels, inside = first_mask(dataset)
        assert (labels == inside).all()

    def test_the_user_says_that_numbers_count(self, shuffled: Path) -> None:
        assert [entry.value for entry in checked(shuffled, num_classes=2).classes] == [0, 1]


def test_the_palette_of_pascal_voc_is_known_by_its_border(folder: Path) -> None:
    for index in range(6):
        mask = coloured(draw_scene(index)[1])
        mask[-1] = BORDER
        save_image(folder / f"masks/{index}.png", mask)
    dataset = checked(folder)
    assert len(dataset.classes) == 21
    assert [entry.name for entry in dataset.classes[:3]] == ["background", "aeroplane", "bicycle"]
    labels, inside = first_mask(dataset)
    assert (labels[inside[:-1].nonzero()] == 1).all()
    assert (labels[-1] == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "P", "L"])
def test_other_modes_store_the_same_classes(folder: Path, mode: str) -> None:
    """Palettes store colours, grey masks beside a table the numbers of its rows."""
    (folder / "class_dict.csv").write_text(CLASS_DICT, encoding="utf-8")
    for index in range(6):
        inside = draw_scene(index)[1]
        rows = np.where(inside, 2, 1).astype(np.uint8)
        rows[0] = 0
        mask = Image.fromarray(rows)
        if mode == "P":
            mask.putpalette([*GREEN, *BLACK, *RED])
        mask = Image.fromarray(coloured(inside)).convert("RGBA") if mode == "RGBA" else mask
        mask.save(folder / f"masks/{index}.png")
    labels, inside = first_mask(checked(folder))
    assert (labels[inside] == 2).all()
    assert (labels[0] == 0).all()


def test_colours_without_a_class_are_named_with_their_masks(folder: Path) -> None:
    (folder / "class_dict.csv").write_text(CLASS_DICT.replace("tree", "bush").replace("0,128,0", "0,99,0"), "utf-8")
    with pytest.raises(DataError, match=r"6 of 6 samples cannot be used") as raised:
        checked(folder)
    assert "0.png holds the colours #008000, which" in str(raised.value)
    assert "class_dict.csv does not contain" in str(raised.value)


def test_photographs_are_not_masks(folder: Path) -> None:
    for index in range(6):
        save_image(folder / f"masks/{index}.png", draw_scene(index)[0])
    with pytest.raises(DataError, match=r"0.png holds [\d,]+ colours, and masks can have 254 classes"):
        checked(folder)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("class_dict.csv", "name,r,g,b\na,0,0,0\nb,300,0,0\n", "line 3: 'b' has not a colour"),
        ("labelmap.txt", "a:0,0,0::\nb:0,0,0::\n", "a and b have the same colour #000000"),
        ("_classes.csv", "Pixel Value, Class\n0, background\n999, car\n", "line 3: 'car' has not a pixel value"),
    ],
)
def test_contradictory_tables(folder: Path, name: str, content: str, problem: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem) as raised:
        checked(folder)
    assert name in str(raised.value)


def test_a_model_finds_its_classes_by_their_colours(folder: Path) -> None:
    """The table beside the images that are evaluated may have another order, or be missing."""
    model = (ClassInfo("car", 0, "#800000"), ClassInfo("tree", 1, "#008000"), ClassInfo("background", 2, "#000000"))
    (folder / "labelmap.txt").write_text(LABEL_MAP, encoding="utf-8")
    samples = read_folder(folder, "segmentation", model)
    labels = read_mask_values(next(sample for sample in samples if sample.image.name == "0.jpg"))
    assert (labels[draw_scene(0)[1]] == 0).all()
    assert (labels[0] == 1).all()


def test_the_colours_of_ground_truth_differ_by_line(tmp_path: Path) -> None:
    """The classes of a line have their own numbers and colours; masks may store either."""
    lines = []
    for index in range(6):
        image, inside = draw_scene(index)
        colours = (RED, GREEN) if index % 2 else (GREEN, RED)
        names = ["sky", "car"] if index % 2 else ["car", "sky"]
        save_image(tmp_path / f"{index}.jpg", image)
        mask = np.where(inside[..., None], colours[1], colours[0]).astype(np.uint8)
        save_image(tmp_path / f"{index}.png", mask if index else inside.astype(np.uint8))
        table = {
            str(value): {"class-name": name, "hex-color": "#{:02x}{:02x}{:02x}".format(*colours[value])}
            for value, name in enumerate(names)
        }
        line = {"source-ref": f"s3://b/{index}.jpg", "m-ref": f"s3://b/{index}.png"}
        lines.append(json.dumps(line | {"m-ref-metadata": {"internal-color-map": table}}))
    (tmp_path / "output.manifest").write_text("\n".join(lines), encoding="utf-8")
    dataset = checked(tmp_path)
    value_of = {entry.name: entry.value for entry in dataset.classes}
    for sample in (*dataset.train, *dataset.validation):
        index = int(sample.image.name[0])
        inside = draw_scene(index)[1]
        assert (read_mask_values(sample)[inside] == value_of["car" if index % 2 else "sky"]).all()


def test_values_may_be_named_instead_of_colours(folder: Path) -> None:
    (folder / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, car\n", encoding="utf-8")
    for index in range(6):
        save_image(folder / f"masks/{index}.png", draw_scene(index)[1].astype(np.uint8))
    assert classes(checked(folder)) == [("background", 0, None), ("car", 1, None)]
