"""Image files in, answer files out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from byoc_vision.data.decoding import IMAGE_SUFFIXES, read_image
from byoc_vision.errors import DataError, InputError
from byoc_vision.inference.encoding import class_entries, encode_jpeg
from byoc_vision.inference.overlay import background_classes, draw_overlay
from byoc_vision.inference.passes import InferenceOptions, check_options, make_pass, run_pass
from byoc_vision.inference.predictor import Classification, Predictor, Segmentation
from byoc_vision.inference.table import PredictionTable

if TYPE_CHECKING:
    from byoc_vision.inference.explaining import Explainer

PREDICTIONS_FILE = "predictions.jsonl"
TABLE_FILE = "predictions.csv"

_PLAINLY = InferenceOptions()


@dataclass(frozen=True)
class FileOutcome:
    """What became of an image: the file written for it, or why there is none.

    answer: what the file does not say.
    """

    source: Path
    written: Path | None = None
    error: str | None = None
    answer: str = ""


def find_images(sources: Sequence[Path]) -> list[Path]:
    """The files named, and the images in the folders named. Raises InputError where there is none."""
    images: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES)
            images += [path for path in inside if not path.name.startswith(".")]
        elif source.is_file():
            images.append(source)
        else:
            raise InputError(f"{source} does not exist; name images or folders of images")
    if not images:
        raise InputError(f"no images in {', '.join(map(str, sources))}; read are {', '.join(sorted(IMAGE_SUFFIXES))}")
    _check_stems(images)
    return images


def predict_files(
    predictor: Predictor,
    images: Iterable[Path],
    output: Path,
    overlay: bool = False,
    options: InferenceOptions = _PLAINLY,
) -> Iterator[FileOutcome]:
    """Answer each image: a mask `STEM.png` (and `STEM.overlay.png`), or a line of predictions.jsonl; and a row of
    predictions.csv.

    An image that cannot be read, or is too large for its tiles, costs its own answer alone.
    Raises InputError where the model cannot look at any image so.
    """
    check_options(predictor.config, options)
    output.mkdir(parents=True, exist_ok=True)
    table = PredictionTable(output / TABLE_FILE, predictor.config)
    lines = output / PREDICTIONS_FILE
    if predictor.config.task == "classification":
        lines.write_text("", encoding="utf-8")
    for source in images:
        try:
            rgb = read_image(source)
            answer = run_pass(predictor, make_pass(predictor, rgb, options))
        except DataError as error:
            yield FileOutcome(source, error=str(error))
            continue
        except InputError as error:
            yield FileOutcome(source, error=f"{source}: {error}")
            continue
        if isinstance(answer, Classification):
            with lines.open("a", encoding="utf-8") as file:
                file.write(_prediction_line(source, answer))
            table.add(source, answer)
            yield FileOutcome(source, written=lines)
        else:
            mask = _write_mask(answer, output / source.stem, rgb if overlay else None)
            table.add(source, answer, mask)
            yield FileOutcome(source, written=mask)


def explain_files(
    explainer: Explainer, images: Iterable[Path], output: Path, class_name: str | None = None
) -> Iterator[FileOutcome]:
    """Draw over each image what speaks for a class, the likeliest by default: `STEM.explained.jpg`.

    An image that cannot be read costs its own answer alone. Raises InputError for a class that is not known.
    """
    from byoc_vision.inference.explaining import class_index, draw_heat

    config = explainer.predictor.config
    if class_name is not None:
        class_index(config, class_name)
    output.mkdir(parents=True, exist_ok=True)
    for source in images:
        try:
            rgb = read_image(source)
        except DataError as error:
            yield FileOutcome(source, error=str(error))
            continue
        found = explainer.explain(rgb, class_name)
        written = output / f"{source.stem}.explained.jpg"
        written.write_bytes(encode_jpeg(draw_heat(config, rgb, found.heat)))
        speaks = "" if found.heat.any() else "; nothing in the image speaks for it"
        yield FileOutcome(source, written, answer=f"{found.class_name} {found.probability:.3f}{speaks}")


def _prediction_line(source: Path, answer: Classification) -> str:
    return json.dumps({"file": str(source), "predictions": class_entries(answer)}) + "\n"


def _write_mask(answer: Segmentation, stem: Path, rgb: np.ndarray | None) -> Path:
    mask = stem.with_name(f"{stem.name}.png")
    _write_png(mask, answer.mask)
    if rgb is not None:
        _write_png(
            stem.with_name(f"{stem.name}.overlay.png"),
            cv2.cvtColor(draw_overlay(rgb, answer.labels, background_classes(answer.classes)), cv2.COLOR_RGB2BGR),
        )
    return mask


def _write_png(path: Path, pixels: np.ndarray) -> None:
    written, encoded = cv2.imencode(".png", pixels)
    assert written, "OpenCV encodes every uint8 array as PNG"
    path.write_bytes(encoded.tobytes())


def _check_stems(images: Sequence[Path]) -> None:
    """Answers are named after images: two of one name would overwrite each other."""
    seen: dict[str, Path] = {}
    for path in images:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"{other} and {path} would both be answered as {path.stem}.png; predict them into two folders"
            )
