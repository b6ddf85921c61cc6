"""Every recipe under examples/ on a small tree of its data's own shape, from `train` to an answer.

Sizes and epochs are small and nothing is pretrained; all else is the recipe's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.datasets import camvid_tree, carvana_tree, class_folders_tree, oxford_pets_tree
from support.jobs import QUICK, read_metrics, run_train
from support.recipes import EXAMPLES, lay_out, recipes

from byoc_vision.data.decoding import read_image
from byoc_vision.inference.predictor import Classification, Predictor, Segmentation

pytestmark = pytest.mark.slow

SMALL = {
    **QUICK,
    "image_size": "64",
    "epochs": "2",
    "batch_size": "4",
    "num_workers": "0",
    "pretrained": "false",
}


@dataclass(frozen=True)
class Case:
    """The tree that a recipe is for, the figure it is judged by, and its classes."""

    tree: Callable[[Path], Path]
    objective: str
    classes: tuple[str, ...]
    changes: dict[str, str] = field(default_factory=dict)


STREETS = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist"
)  # fmt: skip
FREEZE_ONE = {"freeze_epochs": "1", "image_size": "32", "short_side": "40"}
BREEDS = ("Abyssinian", "american bulldog", "Bengal", "yorkshire terrier")
CASES = {
    "camvid_deeplab": Case(camvid_tree, "miou", STREETS),
    "camvid_unet": Case(camvid_tree, "miou", STREETS),
    "carvana_mobilenet": Case(carvana_tree, "dice", ("background", "foreground")),
    "carvana_unet": Case(carvana_tree, "dice", ("background", "foreground"), {"image_size": "32"}),
    "clothing": Case(
        lambda folder: class_folders_tree(folder, ("dress", "hat", "shoes"), {"train": 4, "validation": 2}),
        "f1",
        ("dress", "hat", "shoes"),
    ),
    "dog_breeds": Case(
        lambda folder: class_folders_tree(folder, [f"{number:03}.{name}" for number, name in enumerate(
            ("Affenpinscher", "Afghan_hound", "Airedale_terrier", "Akita", "Basenji", "Beagle"), start=1)]),
        "accuracy",
        ("Affenpinscher", "Afghan_hound", "Airedale_terrier", "Akita", "Basenji", "Beagle"),
        FREEZE_ONE,
    ),
    "oxford_pets_breeds": Case(oxford_pets_tree, "accuracy", BREEDS, FREEZE_ONE),
    "oxford_pets_fcn": Case(oxford_pets_tree, "dice", ("background", "pet")),
    "oxford_pets_unet": Case(oxford_pets_tree, "dice", ("background", "pet")),
}  # fmt: skip


def a_image(tree: Path) -> Path:
    """One that is not a mask and not another program's hidden file."""
    names = (path.relative_to(tree) for path in sorted(tree.rglob("*.[jp][pn]g")))
    return tree / next(name for name in names if "mask" not in str(name) and "annot" not in str(name))


def test_every_recipe_has_a_case_and_a_page() -> None:
    assert set(recipes()) == set(CASES)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for recipe in recipes():
        assert (EXAMPLES / recipe / "README.md").is_file()
        assert f"({recipe}/README.md)" in listed


@pytest.mark.parametrize("recipe", sorted(CASES))
def test_a_recipe_runs_on_a_tree_of_its_shape(recipe: str, tmp_path: Path) -> None:
    case = CASES[recipe]
    tree = case.tree(tmp_path / "data")
    paths = lay_out(tmp_path / "ml", {"train": tree}, recipe, SMALL | case.changes)
    assert run_train(paths) == 0
    results = read_metrics(paths)
    assert results["objective"] == f"validation:{case.objective}"
    assert tuple(entry["name"] for entry in results["classes"]) == case.classes
    assert len(results["epochs"]) == 2

    image = read_image(a_image(tree))
    (answer,) = Predictor.load(paths.model).predict([image])
    if isinstance(answer, Classification):
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-3)
    else:
        assert isinstance(answer, Segmentation)
        assert answer.mask.shape == image.shape[:2]
