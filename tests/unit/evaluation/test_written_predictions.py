from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.predictions import COLOURS, card_of, collect, coloured_images, masked_images, mean_colour, reddish

from byoc_vision.atomic_write import spreadsheet_cells
from byoc_vision.evaluation.predictions import SplitPredictions, write_predictions
from byoc_vision.evaluation.scoring import ScoredPrediction
from byoc_vision.evaluation.task_outputs import ClassOutput, LabelsOutput, MaskOutput, TaskOutput
from byoc_vision.inference.predictor import Classification
from byoc_vision.report.record import Evaluation

NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=2, max_size=4, unique=True)


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def collected(names: list[str], kind: TaskOutput, titles: list[str], rows: np.ndarray) -> SplitPredictions:
    counts = np.arange(len(names) ** 2).reshape(len(names), -1).tolist()
    evaluation = Evaluation(split="validation", epoch=1, images=len(titles), metrics={}, classes=[], confusion=counts)
    return SplitPredictions(evaluation, tuple(names), kind, tuple(titles), rows, {})


def answered(probabilities: np.ndarray, names: list[str], target: object) -> ScoredPrediction:
    return ScoredPrediction(Classification(probabilities, tuple(names)), np.array(target))


@settings(deadline=None, max_examples=60)
@given(st.data(), NAMES)
def test_tables_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, names: list[str]
) -> None:
    """Whatever is in names: quotes, commas, line ends, HTML; an apostrophe keeps formulas from being computed."""
    folder = tmp_path_factory.mktemp("tables", numbered=True)
    titles = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=3))
    vectors = [np.float32(np.roll(np.linspace(0.9, 0.05, len(names)), index)) for index in range(len(titles))]
    one, several = ClassOutput(names), LabelsOutput(names, 0.5)
    rows = np.stack([one.row(answered(vector, names, 0)) for vector in vectors])
    target = np.uint8([1] * (len(names) - 1) + [0])
    lists = np.stack([several.row(answered(vector, names, target)) for vector in vectors])

    write_predictions(folder, [collected(names, one, titles, rows)])
    header, *lines = read(folder / "predictions.csv")
    for line, title, vector in zip(lines, titles, vectors, strict=True):
        cells = dict(zip(header, line, strict=True))
        assert (cells["split"], cells["file"], cells["actual"]) == ("validation", *spreadsheet_cells([title, names[0]]))
        assert [cells["predicted"]] == spreadsheet_cells([names[vector.argmax()]])
        assert float(cells["probability"]) == pytest.approx(vector.max(), abs=1e-6)
        assert float(cells["actual_probability"]) == pytest.approx(vector[0], abs=1e-6)
        assert cells["correct"] == ("true" if vector.argmax() == 0 else "false")
    (_, *classes), *counts = read(folder / "confusion_matrix.csv")
    assert classes == spreadsheet_cells(names) == [row[0] for row in counts]
    assert [int(cell) for row in counts for cell in row[1:]] == list(range(len(names) ** 2))

    write_predictions(folder, [collected(names, several, titles, lists)])
    header, *lines = read(folder / "predictions.csv")
    for line, vector in zip(lines, vectors, strict=True):
        cells = dict(zip(header, line, strict=True))
        assert json.loads(cells["actual"]) == names[:-1]
        assert json.loads(cells["predicted"]) == [names[index] for index in np.flatnonzero(vector > 0.5)]
        assert json.loads(cells["actual_probability"]) == pytest.approx(vector[:-1].tolist(), abs=1e-6)
        assert json.loads(cells["probability"]) == pytest.approx(vector[vector > 0.5].tolist(), abs=1e-6)


def test_of_very_many_classes_a_mask_has_no_columns() -> None:
    assert len(MaskOutput([str(index) for index in range(40)]).columns) == 42
    assert MaskOutput([str(index) for index in range(41)]).columns == ("dice", "pixel_accuracy")


def test_a_table_holds_all_splits_and_images_that_are_shown_no_more_go(tmp_path: Path) -> None:
    config, out = card_of("classification", COLOURS), tmp_path / "out"
    _, many = collect(config, mean_colour(), coloured_images(tmp_path / "in"), tmp_path / "in")
    _, one = collect(config, mean_colour(), coloured_images(tmp_path / "in", 1), tmp_path / "in")
    assert many is not None
    assert one is not None
    test = dataclasses.replace(one, evaluation=one.evaluation.model_copy(update={"split": "test"}), images={})
    write_predictions(out, [many, test])
    assert [line[0] for line in read(out / "predictions.csv")] == ["split", *["validation"] * 12, "test"]
    for name, count in {"confusion_matrix.csv": 12, "confusion_matrix_test.csv": 1}.items():
        assert sum(int(cell) for row in read(out / name)[1:] for cell in row[1:]) == count
    (out / "pictures" / "augmented-1.jpg").write_bytes(b"another's")
    write_predictions(out, [one])
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        "predictions.csv",
        "confusion_matrix.csv",
        "augmented-1.jpg",
        "validation-best-1-picture.jpg",
        "validation-random-1-picture.jpg",
    }


def test_what_an_evaluation_names_is_there(tmp_path: Path) -> None:
    _, found = collect(card_of("segmentation", ("no", "yes")), reddish(), masked_images(tmp_path, 4), tmp_path)
    assert found is not None
    write_predictions(tmp_path / "out", [found])
    for gallery in found.evaluation.galleries.values():
        for example in gallery:
            for name in (example.image, example.target, example.prediction, example.difference):
                assert (tmp_path / "out" / "pictures" / str(name)).is_file()
    assert not list((tmp_path / "out").rglob(".saving-*"))
