"""Augmentations of users: transforms that `albumentations.save` wrote as JSON.

A file only names albumentations' own classes and their parameters, and loading it runs no code of its author. All
transforms are tried before training: those that would break an epoch, or change the model's input, are refused by name.
"""

from __future__ import annotations

import json
import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from byoc_vision.errors import InputError, error_lines, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import Task

if TYPE_CHECKING:
    from albumentations import Compose

FILE_SUFFIX = ".json"

Node = dict[str, Any]  # one transform in the file

_NAME, _CHILDREN = "__class_fullname__", "transforms"
_TRIALS = 20  # seeds, to try different random choices of a pipeline
_MASK_VALUES = (0, 100)  # of the trial's mask, far apart: interpolation between them gives other values
# What transforms raise for invalid parameters and images.
_TRANSFORM_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    cv2.error,
)


def import_albumentations() -> Any:
    """The module, imported late because that takes seconds, and without its request for newer versions."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    module: ModuleType = albumentations
    return module


def find_file(name: str, folder: Path | None) -> Path:
    """The file in the channel, given with or without its folder. Raises InputError if it does not exist."""
    if folder is None:
        raise InputError(f"augmentation={name} names a file, but there is no channel `augmentation` with it")
    path = folder / Path(name).name
    if not path.is_file():
        found = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"augmentation={name}: the channel `augmentation` has no such file; it holds {found}")
    return path


def read_transforms(path: Path, task: Task, size: tuple[int, int]) -> Node:
    """The transforms of a file, tried on images of `size`, height and width.

    Borders that a transform fills in a mask become ignored pixels, whatever value the file sets.
    Raises InputError that names the file, each transform that cannot be used, and the remedy.
    """
    root = _read(path)
    leaves = list(_leaves(root, path))
    for leaf in leaves:
        if leaf.get("fill_mask") is not None:
            leaf["fill_mask"] = IGNORED
    problems = [problem for leaf in leaves if (problem := _problem(leaf, task, size)) is not None]
    if problems:
        raise InputError(list_problems(f"{path} has transforms that cannot be used:", problems))
    _check_whole(root, leaves, path, task, size)
    return root


def compose_saved(root: Node, height: int, width: int) -> Compose:
    """The transforms of a file that was checked before; they are the same for every size."""
    albumentations = import_albumentations()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were reported when the file was read
        composed: Compose = albumentations.Compose([albumentations.from_dict({"transform": root})])
    return composed


def _read(path: Path) -> Node:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON ({error}); write it with albumentations.save") from error
    root = content.get("transform") if isinstance(content, dict) else None
    if not isinstance(root, dict):
        raise InputError(f"{path} holds no `transform`; write it with albumentations.save(pipeline, path)")
    return root


def _leaves(node: Any, path: Path) -> Iterator[Node]:
    """All transforms except containers. Raises InputError for classes that are not albumentations' own."""
    name = _known(node, path)
    if node.get("bbox_params") or node.get("keypoint_params"):
        raise InputError(f"{path}: {name} needs boxes or keypoints; save it without bbox_params and keypoint_params")
    children = node.get(_CHILDREN)
    if children is None:
        yield node
        return
    if not isinstance(children, list):
        raise InputError(f"{path}: the transforms of {name} are not a list; write the file with albumentations.save")
    for child in children:
        yield from _leaves(child, path)


def _known(node: Any, path: Path) -> str:
    """The class name of a node; the file can name no class but albumentations' own."""
    import_albumentations()
    from albumentations.core.serialization import NON_SERIALIZABLE_REGISTRY, SERIALIZABLE_REGISTRY, shorten_class_name

    name = node.get(_NAME) if isinstance(node, dict) else None
    if not isinstance(name, str):
        raise InputError(f"{path}: a transform has no {_NAME}; write the file with albumentations.save")
    short: str = shorten_class_name(name)
    if short in NON_SERIALIZABLE_REGISTRY:
        raise InputError(f"{path}: {short} runs code that the file does not contain; remove it")
    found = SERIALIZABLE_REGISTRY.get(short)
    if found is None or not found.__module__.startswith("albumentations."):
        version = import_albumentations().__version__
        raise InputError(f"{path}: albumentations {version} has no transform {name}; save the file with that version")
    return short


def _problem(leaf: Node, task: Task, size: tuple[int, int]) -> str | None:
    """What is wrong with one transform, regardless of its probability: its parameters, or its output."""
    name, always = leaf[_NAME].rpartition(".")[2], {**leaf, "p": 1.0}
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            compose = import_albumentations().Compose([import_albumentations().from_dict({"transform": always})])
        if foreign := [str(item.message) for item in complaints if "not valid for transform" in str(item.message)]:
            version = import_albumentations().__version__
            return f"{name}: {foreign[0]}; save the file with albumentations {version}"
        changed = [_try(compose, task, size, seed) for seed in range(3)]
    except _too_small_for():
        return None  # other transforms may enlarge the image first: checked as a whole
    except _TRANSFORM_ERRORS as error:
        return f"{name} does not work with only an image and its mask ({_reason(error)}); fix it or remove it"
    for image, mask in changed:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
            return f"{name} makes {kind} of a uint8 image; remove it: the model normalises its input"
        if image.ndim != 3 or image.shape[2] != 3:
            return f"{name} makes {list(image.shape)} of an image with 3 channels; remove it"
        if mask is not None and (others := set(np.unique(mask).tolist()) - {*_MASK_VALUES, IGNORED}):
            return f"{name} makes new mask values ({min(others):g}); set mask_interpolation=0, or remove it"
    return None


def _check_whole(root: Node, leaves: list[Node], path: Path, task: Task, size: tuple[int, int]) -> None:
    """Raises InputError if images do not keep their size from the first transform to the last."""
    for pipeline in (root, _always(root)):
        try:
            compose = compose_saved(pipeline, *size)
            shapes = {_try(compose, task, size, seed)[0].shape[:2] for seed in range(_TRIALS)}
        except (*_TRANSFORM_ERRORS, _too_small_for()) as error:
            raise InputError(
                f"{path}: its transforms do not work on images of {size[0]} × {size[1]} pixels ({_reason(error)}); "
                "fix them, or set image_size"
            ) from error
        for height, width in shapes - {size}:
            resizing = [leaf[_NAME].rpartition(".")[2] for leaf in leaves if _resizes(leaf, task, size)]
            raise InputError(
                f"{path}: {', '.join(resizing)} makes images of {height} × {width} pixels; training takes {size[0]} "
                f"× {size[1]}: give the transform that size, or remove it and set image_size, short_side or crop_size"
            )


def _resizes(leaf: Node, task: Task, size: tuple[int, int]) -> bool:
    compose = compose_saved({**leaf, "p": 1.0}, *size)
    try:
        return any(_try(compose, task, size, seed)[0].shape[:2] != size for seed in range(_TRIALS))
    except _too_small_for():
        return True


def _too_small_for() -> type[Exception]:
    """What albumentations raises if an image is smaller than its crop."""
    import_albumentations()
    from albumentations.augmentations.crops.transforms import CropSizeError

    error: type[Exception] = CropSizeError
    return error


def _reason(error: Exception) -> str:
    lines = error_lines(error)
    if "validation error" in lines[0] and len(lines) > 2:  # pydantic's: the number of errors, the field, what is wrong
        return f"{lines[1]}: {lines[2].strip().partition(' [type=')[0]}"
    return lines[0]


def _always(node: Node) -> Node:
    """The same transforms, each with probability 1."""
    changed = {**node, "p": 1.0}
    if _CHILDREN in node:
        changed[_CHILDREN] = [_always(child) for child in node[_CHILDREN]]
    return changed


def _try(compose: Compose, task: Task, size: tuple[int, int], seed: int) -> tuple[Any, Any]:
    """An image of noise and, for segmentation, a mask of two halves, both transformed."""
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    if task == "classification":
        return compose(image=image)["image"], None
    mask = np.full(size, _MASK_VALUES[0], np.uint8)
    mask[:, size[1] // 2 :] = _MASK_VALUES[1]
    changed = compose(image=image, mask=mask)
    return changed["image"], changed["mask"]
