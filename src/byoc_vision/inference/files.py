"""Predicts image files and writes the predictions to files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from byoc_vision.artifact import ModelConfig
from byoc_vision.atomic_write import spreadsheet_cells
from byoc_vision.data.bands import read_pixels
from byoc_vision.data.decoding import IMAGE_SUFFIXES
from byoc_vision.errors import DataError, InputError
from byoc_vision.inference.encoding import (
    DECIMALS,
    class_entries,
    class_shares,
    encode_jpeg,
    encode_png,
    encode_rgb_png,
)
from byoc_vision.inference.overlay import background_classes, draw_overlay, mask_palette
from byoc_vision.inference.passes import InferenceOptions, check_options, make_pass, run_pass
from byoc_vision.inference.predictor import Classification, Prediction, Predictor, Segmentation
from byoc_vision.preprocess import as_rgb

if TYPE_CHECKING:
    from byoc_vision.inference.explaining import Explainer

PREDICTIONS_FILE = "predictions.jsonl"
TABLE_FILE = "predictions.csv"
_FILE_SUFFIXES = (".csv", ".json", ".jsonl", ".txt", ".zip", ".gz", ".html")

_SEPARATOR = ";"  # in the table, between the classes of an image that can have several

_DEFAULT_OPTIONS = InferenceOptions()


@dataclass(frozen=True)
class FileOutcome:
    """The result for an image: the file that was written, or the error.

    note: what the log says beside the file name.
    """

    source: Path
    written: Path | None = None
    error: str | None = None
    note: str = ""


def find_images(sources: Sequence[Path]) -> list[Path]:
    """The named files, and the images in the named folders. Raises InputError if there are none."""
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
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"no images in {', '.join(map(str, sources))}; supported file names end in {known}")
    return images


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    output: Path,
    overlay: bool = False,
    options: InferenceOptions = _DEFAULT_OPTIONS,
    *,
    palette: bool = False,
) -> Iterator[FileOutcome]:
    """Predict each image and write the prediction.

    Segmentation writes a mask `STEM.png` (and `STEM.overlay.png`), classification a line of predictions.jsonl; both
    write a row of predictions.csv. If an image cannot be read, or is too large for its tiles, its outcome has an error
    and the next image follows.

    Raises:
        InputError: The model does not support the options, two masks would have one name, or `output` is a file.
    """
    check_options(predictor.config, options)
    if predictor.config.task == "segmentation":
        check_stems(images)
    check_output(output)
    output.mkdir(parents=True, exist_ok=True)
    table = PredictionTable(output / TABLE_FILE, predictor.config)
    lines = output / PREDICTIONS_FILE
    if predictor.config.task == "classification":
        lines.write_text("", encoding="utf-8")
    for source in images:
        try:
            rgb = read_pixels(source, predictor.config.preprocess.bands)
            prediction = run_pass(predictor, make_pass(predictor, rgb, options))
        except DataError as error:
            yield FileOutcome(source, error=str(error))
            continue
        except InputError as error:
            yield FileOutcome(source, error=f"{source}: {error}")
            continue
        if isinstance(prediction, Classification):
            with lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"file": str(source), "predictions": class_entries(prediction)}) + "\n")
            table.add(source, prediction)
            yield FileOutcome(source, written=lines)
        else:
            shown = as_rgb(rgb) if overlay else None
            mask = _write_mask(prediction, output / source.stem, shown, palette=palette)
            table.add(source, prediction, mask)
            yield FileOutcome(source, written=mask)


def explain_files(
    explainer: Explainer, images: Sequence[Path], output: Path, class_name: str | None = None
) -> Iterator[FileOutcome]:
    """Draw the parts of each image that support a class, by default the most probable one: `STEM.explained.jpg`.

    If an image cannot be read, its outcome has an error and the next image follows.

    Raises:
        InputError: The model does not have the class, two drawings would have one name, or `output` is a file.
    """
    from byoc_vision.inference.explaining import class_index, draw_heat

    config = explainer.predictor.config
    if class_name is not None:
        class_index(config, class_name)
    check_stems(images)
    check_output(output)
    output.mkdir(parents=True, exist_ok=True)
    for source in images:
        try:
            rgb = read_pixels(source, config.preprocess.bands)
        except DataError as error:
            yield FileOutcome(source, error=str(error))
            continue
        found = explainer.explain(rgb, class_name)
        written = output / f"{source.stem}.explained.jpg"
        written.write_bytes(encode_jpeg(draw_heat(config, as_rgb(rgb), found.heat)))
        remark = "" if found.heat.any() else "; no part of the image supports it"
        yield FileOutcome(source, written, note=f"{found.class_name} {found.probability:.3f}{remark}")


def _write_mask(prediction: Segmentation, stem: Path, rgb: np.ndarray | None, *, palette: bool) -> Path:
    mask = stem.with_name(f"{stem.name}.png")
    mask.write_bytes(encode_png(prediction.mask, mask_palette(prediction.classes) if palette else None))
    if rgb is not None:
        drawn = draw_overlay(rgb, prediction.labels, background_classes(prediction.classes))
        stem.with_name(f"{stem.name}.overlay.png").write_bytes(encode_rgb_png(drawn))
    return mask


def check_output(output: Path) -> None:
    """Raises InputError for what is, or looks like, a file."""
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file; name a folder, which gets {TABLE_FILE} and the predictions")
    if not output.exists() and output.suffix.lower() in {*IMAGE_SUFFIXES, *_FILE_SUFFIXES}:
        raise InputError(
            f"--output {output} looks like a file; name a folder, which gets {TABLE_FILE} and the predictions"
        )


def check_stems(images: Sequence[Path]) -> None:
    """Raises InputError for two images of one name: their predictions would overwrite each other."""
    seen: dict[str, Path] = {}
    for path in images:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"the predictions of {other} and {path} would both be written to {path.stem}.png; "
                "use two --output folders"
            )


class PredictionTable:
    """A CSV file with a row for each predicted image, written one by one.

    Segmentation: the image, its mask, and each class's share of the pixels. Classification: the image, the best class
    and its probability, the present classes if an image can have several, and the probability of every class.
    """

    def __init__(self, path: Path, config: ModelConfig) -> None:
        self._path = path
        path.write_text("", encoding="utf-8")
        self._write(_header(config))

    def add(self, source: Path, prediction: Prediction, mask: Path | None = None) -> None:
        """Write the row of an image. mask: the file of its mask."""
        if isinstance(prediction, Classification):
            self._write([source, *_classes(prediction)])
        else:
            assert mask is not None, "every mask has a file"
            self._write([source, mask.name, *class_shares(prediction.labels, len(prediction.classes))])

    def _write(self, cells: list[object]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(spreadsheet_cells(cells))


def _header(config: ModelConfig) -> list[object]:
    names = [entry.name for entry in config.classes]
    if config.task == "segmentation":
        return ["file", "mask", *(f"share {name}" for name in names)]
    present = ["present"] if config.activation == "sigmoid" else []
    return ["file", "class", "probability", *present, *(f"probability {name}" for name in names)]


def _classes(prediction: Classification) -> list[object]:
    ranked = prediction.ranked()
    best, probability = ranked[0]
    cells: list[object] = [best, round(probability, DECIMALS)]
    if prediction.threshold is not None:
        cells.append(_SEPARATOR.join(name for name, score in ranked if score > prediction.threshold))
    return [*cells, *(round(score, DECIMALS) for score in prediction.probabilities.tolist())]
