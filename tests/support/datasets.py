"""The data sets of this field in small: trees of exactly the original's names, modes, palettes and list formats.

Images are drawn: a coloured ellipse on a grey ground, so that there is something to learn. Each function fills
`folder` and returns it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from support.images import draw_scene, save_image

CAMVID_STEMS = ("0001TP_{:06}", "0006R0_f{:05}", "0016E5_{:05}", "Seq05VD_f{:05}")
CAMVID_VOID = 11

# In the original's spelling: cats begin with a capital.
BREEDS = ("Abyssinian", "american_bulldog", "Bengal", "yorkshire_terrier")
_CATS = frozenset({"Abyssinian", "Bengal"})

CATEGORIES = {2: "Clothing", 3: "Dresses", 17: "Coats & Jackets", 41: "Shoes", 318: "Ankle Booties"}

_CAR_BLACK_AND_WHITE = [0, 0, 0, 255, 255, 255]


def carvana_tree(folder: Path, cars: int = 4, views: int = 2, first_car: int = 0, split: str = "train") -> Path:
    """Kaggle's Carvana Image Masking Challenge: SPLIT/ID_VIEW.jpg and SPLIT_masks/ID_VIEW_mask.gif.

    The masks are palette GIFs that store 0 and 1.
    """
    for car in range(first_car, first_car + cars):
        for view in range(1, views + 1):
            stem = f"{car_id(car)}_{view:02}"
            image, inside = draw_scene(100 * car + view)
            save_image(folder / split / f"{stem}.jpg", image)
            save_carvana_mask(folder / f"{split}_masks" / f"{stem}_mask.gif", inside)
    return folder


def carvana_strays(folder: Path, images: int = 2) -> Path:
    """What else Kaggle's files unpack to: test/ without masks, and lists."""
    for index in range(images):
        save_image(folder / "test" / f"{car_id(900 + index)}_01.jpg", draw_scene(index)[0])
    _write(folder / "train_masks.csv", f"img,rle_mask\n{car_id(0)}_01.jpg,879386 40 881253 141\n")
    _write(folder / "metadata.csv", f"id,year,make,model,trim1,trim2\n{car_id(0)},2017,Acura,TL,TL,w/SE\n")
    _write(folder / "sample_submission.csv", f"img,rle_mask\n{car_id(900)}_01.jpg,1 1\n")
    return folder


def car_id(car: int) -> str:
    """Twelve hexadecimal digits, as Carvana's."""
    return f"{0x00087A6BD4DC + car * 0x0FCB_1234_567:012x}"


def save_carvana_mask(path: Path, inside: np.ndarray) -> None:
    mask = Image.fromarray(inside.astype(np.uint8), "P")
    mask.putpalette(_CAR_BLACK_AND_WHITE)
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path, "GIF", optimize=False)


def oxford_pets_tree(folder: Path, breeds: Sequence[str] = BREEDS, trainval: int = 4, test: int = 2) -> Path:
    """The Oxford-IIIT Pet archives, unpacked: images/ and annotations/.

    trainval, test: images of each breed in the two lists. Among the images are the original's oddities: names
    that end in .jpg on PNG and GIF files, stray .mat files, and macOS's hidden files beside the trimaps.
    """
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for breed_index, breed in enumerate(breeds):
        for number in range(1, trainval + test + 1):
            stem = f"{breed}_{number}"
            image, inside = draw_scene(7 * number + breed_index, 40, 36)
            kind = {2: "PNG", 3: "GIF"}.get(number, "JPEG") if breed in _CATS else "JPEG"
            save_image(folder / "images" / f"{stem}.jpg", image, kind)
            save_image(folder / "annotations/trimaps" / f"{stem}.png", trimap(inside))
            _write(folder / "annotations/trimaps" / f"._{stem}.png", "\x00\x05\x16\x07")
            _write(
                folder / "annotations/xmls" / f"{stem}.xml", f"<annotation><filename>{stem}.jpg</filename></annotation>"
            )
            species = 1 if breed in _CATS else 2
            name = "trainval" if number <= trainval else "test"
            lists[name].append(f"{stem} {breed_index + 1} {species} {breed_index + 1}")
    _write(folder / "images" / f"{breeds[0]}_100.mat", "MATLAB 5.0 MAT-file")
    _write(folder / "annotations/README", "OVERVIEW\n")
    for name, lines in lists.items():
        _write(folder / "annotations" / f"{name}.txt", "\n".join(lines) + "\n")
    header = (
        "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n#SPECIES: 1:Cat 2:Dog\n#BREED ID: 1-25:Cat 1:12:Dog\n"
    )
    everything = sorted(lists["trainval"] + lists["test"], key=str.casefold)
    _write(folder / "annotations/list.txt", header + "\n".join(everything) + "\n")
    return folder


def trimap(inside: np.ndarray) -> np.ndarray:
    """1 pet, 2 background, 3 border: a line of a pixel around the pet."""
    wider = np.pad(inside, 1)
    touched = wider[:-2, 1:-1] | wider[2:, 1:-1] | wider[1:-1, :-2] | wider[1:-1, 2:]
    return np.where(inside, 1, np.where(touched, 3, 2)).astype(np.uint8)


def class_folders_tree(
    folder: Path,
    names: Sequence[str] = ("001.Affenpinscher", "002.Afghan_hound", "003.Airedale_terrier"),
    counts: Mapping[str, int] | None = None,
) -> Path:
    """SPLIT/CLASS/NAME_NUMBER.jpg, as the dog breeds come. counts: split → images of each class."""
    drawn = 0
    for split, count in (counts or {"train": 4, "valid": 2, "test": 2}).items():
        for label, name in enumerate(names):
            stem = name.rpartition(".")[2]
            for number in range(count):
                drawn += 7  # no image twice, and a colour for each class
                save_image(folder / split / name / f"{stem}_{number + 1:05}.jpg", draw_scene(drawn + label, 40, 40)[0])
    return folder


def polyvore_tree(
    folder: Path, outfits: Mapping[str, int] | None = None, categories: Sequence[int] = (3, 17, 41)
) -> Path:
    """Polyvore: images/SET/INDEX.jpg, SPLIT_no_dup.json with the outfits, and category_id.txt.

    outfits: split (train, valid, test) → how many; each holds an item of every category.
    """
    set_id = 100002074
    for split, count in (outfits or {"train": 4, "valid": 2, "test": 2}).items():
        listed = []
        for _ in range(count):
            set_id += 137
            items = []
            for index, category in enumerate(categories, start=1):
                save_image(folder / "images" / str(set_id) / f"{index}.jpg", draw_scene(7 * set_id + index, 40, 40)[0])
                items.append(_polyvore_item(index, category))
            listed.append(
                {
                    "name": "Casual",
                    "views": 8743,
                    "items": items,
                    "image": "http://ak2.polyvoreimg.com/cgi/img-set/cid/1/id/x/size/c600x580.jpg",
                    "likes": 394,
                    "date": "One month",
                    "set_url": f"http://www.polyvore.com/casual/set?id={set_id}",
                    "set_id": str(set_id),
                    "desc": "A fashion look",
                }
            )
        _write(folder / f"{split}_no_dup.json", json.dumps(listed))
    _write(folder / "category_id.txt", "".join(f"{number} {name}\n" for number, name in CATEGORIES.items()))
    return folder


def camvid_tree(folder: Path, counts: Mapping[str, int] | None = None) -> Path:
    """SegNet's CamVid: SPLIT/ and SPLITannot/ with PNG files, and SPLIT.txt with the paths of its author's machine.

    counts: split (train, val, test) → images. The labels are 0–10, and 11 for void.
    """
    number = 30
    for split, count in (counts or {"train": 4, "val": 2, "test": 2}).items():
        lines = []
        for index in range(count):
            number += 30
            name = CAMVID_STEMS[index % len(CAMVID_STEMS)].format(number) + ".png"
            image, inside = draw_scene(number)
            save_image(folder / split / name, image)
            save_image(folder / f"{split}annot" / name, street_labels(inside))
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
        _write(folder / f"{split}.txt", "".join(lines))
    return folder


def street_labels(inside: np.ndarray) -> np.ndarray:
    """Every class in bands from the sky (0) down, the ellipse as a car (8), the last row void."""
    height = len(inside)
    labels = np.repeat(np.arange(height) * 11 // height, inside.shape[1]).reshape(inside.shape)
    labels[inside] = 8
    labels[-1] = CAMVID_VOID
    return labels.astype(np.uint8)


def semantic_segmentation_tree(
    folder: Path,
    label_map: Mapping[str, object] | None = None,
    values: Sequence[int] = (0, 1, 255),
    counts: Mapping[str, int] | None = None,
) -> Path:
    """The channels of SageMaker's built-in Semantic Segmentation: SPLIT, SPLIT_annotation and label_map.

    values: the pixel values of the ground, of the ellipse, and of a last row that is not to be counted.
    """
    ground, thing, uncounted = values
    for split, count in (counts or {"train": 4, "validation": 2}).items():
        for index in range(count):
            image, inside = draw_scene(1000 * len(split) + index)
            labels = np.where(inside, thing, ground).astype(np.uint8)
            labels[-1] = uncounted
            save_image(folder / split / f"street_{index}.jpg", image)
            save_image(folder / f"{split}_annotation" / f"street_{index}.png", labels)
        if label_map is not None:
            _write(folder / "label_map" / f"{split}_label_map.json", json.dumps(label_map))
    return folder


def _polyvore_item(index: int, category: int) -> dict[str, object]:
    return {
        "index": index,
        "name": CATEGORIES.get(category, "thing").lower(),
        "price": 24.0,
        "likes": 10,
        "image": "http://img2.polyvoreimg.com/cgi/img-thing?.out=jpg&size=m&tid=1",
        "categoryid": category,
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
