"""Channels of tiny images in the shapes that SageMaker's built-in algorithms and Ground Truth give them.

Images of class 0 are red and those of class 1 green; both have a square, which is what their masks mark.
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from support.images import encode
from support.jobs import write_hyperparameters

from byoc_vision.data.recordio import pack, write_record
from byoc_vision.paths import MlPaths

COLOURS = ((200, 40, 40), (40, 200, 40))
SIZE = 32


def draw_image(label: int, index: int) -> np.ndarray:
    """uint8 RGB [SIZE, SIZE, 3]; no two are the same."""
    rgb = np.full((SIZE, SIZE, 3), COLOURS[label], np.uint8)
    rgb[8:20, 8:20] = (220, 220, 10 * (index % 25))
    rgb[0, 0] = (index, label, 7)
    return rgb


def mask(value: int = 1) -> np.ndarray:
    marked = np.zeros((SIZE, SIZE), np.uint8)
    marked[8:20, 8:20] = value
    return marked


def jpeg(label: int, index: int) -> bytes:
    return encode(draw_image(label, index), "JPEG", quality=95)


def png_mask() -> bytes:
    return encode(mask())


def write_images(folder: Path, count: int, first: int = 0, name: Callable[[int], str] = "{}.jpg".format) -> list[str]:
    """JPEGs, of the two classes in turn: their names below `folder`."""
    names = [name(index) for index in range(first, first + count)]
    for index, relative in enumerate(names, first):
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(index % 2, index))
    return names


def write_masks(folder: Path, names: Iterable[str]) -> list[str]:
    """A PNG mask for each image, of its stem."""
    masks = [str(Path(name).with_suffix(".png")) for name in names]
    for relative in masks:
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_mask())
    return masks


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def manifest_line(image_name: str, **attributes: object) -> str:
    given = {name.replace("_", "-"): value for name, value in attributes.items()}
    return json.dumps({"source-ref": f"s3://bucket/prefix/{image_name}"} | given)


def write_rec(path: Path, labelled: Iterable[tuple[tuple[float, ...], bytes]]) -> Path:
    """A RecordIO file as im2rec writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for number, (labels, content) in enumerate(labelled):
            write_record(file, pack(labels, content, number=number))
    return path


def records(contents: Iterable[bytes]) -> bytes:
    file = io.BytesIO()
    for content in contents:
        write_record(file, content)
    return file.getvalue()


def stream(path: Path, content: bytes) -> threading.Thread:
    """A named pipe, and a thread that writes it as SageMaker's agent does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,), daemon=True)
    writer.start()
    return writer


def describe_job(paths: MlPaths, hyperparameters: dict[str, str], channels: dict[str, dict[str, str]]) -> None:
    write_hyperparameters(paths, hyperparameters)
    paths.input_data_config.write_text(json.dumps(channels))
