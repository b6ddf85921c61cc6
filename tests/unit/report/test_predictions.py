"""The page's predictions: classes, confusions, galleries; and of several jobs."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support import records

from byoc_vision.report.record import ClassScore, Example
from byoc_vision.report.views.comparison import comparison, distinct
from byoc_vision.report.views.data import data, read_preflight
from byoc_vision.report.views.predictions import (
    MOST_CLASSES,
    MOST_PAIRS,
    MOST_PIXELS,
    heat_map,
    most_confused,
    predictions,
)
from byoc_vision.report.views.run import operators, steps


def test_few_classes_have_a_matrix_to_read(tmp_path: Path) -> None:
    record = records.classification_job(tmp_path)
    shown = predictions(record)[0]
    confusion = record.evaluations[0].confusion
    assert shown.matrix
    assert confusion
    assert shown.heat_map is None
    for target, row in enumerate(shown.matrix):
        assert [cell.text for cell in row] == [f"{number:,}" if number else "" for number in confusion[target]]
        assert sum(cell.share for cell in row) == pytest.approx(1)
        assert [cell.is_right for cell in row] == [answer == target for answer in range(len(row))]
    assert shown.matrix[0][1].title.startswith(f"cat predicted as dog: {confusion[0][1]} images, ")


def test_pixels_are_shown_as_shares(tmp_path: Path) -> None:
    shown = predictions(records.segmentation_job(tmp_path))[0]
    assert shown.matrix
    assert [cell.text for cell in shown.matrix[1]] == ["2.8", "97.2"]
    assert shown.scores
    assert shown.scores.columns == ["IoU", "F1", "Precision", "Recall"]
    assert shown.scores.unit == "pixels"


def test_shares_fit_into_narrow_cells(tmp_path: Path) -> None:
    record = records.segmentation_job(tmp_path)
    entry = record.evaluations[0].model_copy(update={"confusion": [[1_000_000, 400], [1_234, 50_000]]})
    shown = predictions(record.model_copy(update={"evaluations": [entry]}))[0]
    assert shown.matrix
    assert [[cell.text for cell in row] for row in shown.matrix] == [["100", "<0.1"], ["2.4", "97.6"]]
    assert shown.matrix[0][1].title.endswith("400 pixels, 0.04 %")


def test_a_matrix_of_other_classes_is_not_shown(tmp_path: Path) -> None:
    record = records.classification_job(tmp_path)
    evaluation = record.evaluations[0].model_copy(update={"confusion": [[1, 2], [3]]})
    shown = predictions(record.model_copy(update={"evaluations": [evaluation]}))[0]
    assert (shown.matrix, shown.heat_map, shown.pairs) == (None, None, [])


def test_of_very_many_classes_the_weakest_are_shown(tmp_path: Path) -> None:
    record = records.classification_job(tmp_path)
    scores = [ClassScore(name=f"c{place}", support=1, f1=1 - place / 2_000) for place in range(1_500)]
    evaluation = record.evaluations[0].model_copy(update={"classes": scores, "confusion": None})
    shown = predictions(record.model_copy(update={"evaluations": [evaluation]}))[0].scores
    assert shown
    assert (len(shown.classes), shown.left_out) == (MOST_CLASSES, 500)
    assert shown.classes[0][0].name == "c1499"


_CONFUSIONS = st.integers(1, 9).flatmap(lambda size: arrays.arrays(np.int64, (size, size), elements=st.integers(0, 9)))


@settings(max_examples=30, deadline=None)
@given(_CONFUSIONS)
def test_the_most_confused_come_first(confusion: np.ndarray) -> None:
    names = [str(place) for place in range(len(confusion))]
    pairs = most_confused(confusion, names)
    assert all(pair.actual != pair.predicted for pair in pairs)
    assert all(pair.number == confusion[int(pair.actual), int(pair.predicted)] > 0 for pair in pairs)
    wrong = sorted(confusion[~np.eye(len(confusion), dtype=bool)], reverse=True)
    assert [pair.number for pair in pairs] == [number for number in wrong[:MOST_PAIRS] if number]


@pytest.mark.parametrize("classes", [41, 1_201])
def test_many_classes_become_an_image(classes: int) -> None:
    confusion = np.diag(np.full(classes, 9))
    confusion[3, 30] = 9
    content = base64.b64decode(heat_map(confusion).removeprefix("data:image/png;base64,"))
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    step = -(-classes // MOST_PIXELS)
    assert image.shape == (-(-classes // step), -(-classes // step), 4)
    blue, red = image[10 // step, 10 // step], image[3 // step, 30 // step]
    assert blue[0] > blue[2]
    assert red[2] > red[0]
    assert min(blue[3], red[3]) > 100
    assert image[20 // step, 2 // step, 3] == 0


def test_galleries_say_what_is_right(tmp_path: Path) -> None:
    worst, random, best = predictions(records.classification_job(tmp_path))[0].galleries
    assert worst.title == "Most confident mistakes"
    assert {item.is_right for item in worst.items} == {False}
    assert {item.is_right for item in random.items} == {False, True}
    assert {item.is_right for item in best.items} == {True}
    assert worst.items[0].lines == [("predicted", "dog, 97.0 %"), ("actual", "cat, 2.0 %")]


def test_no_class_is_shown_in_words(tmp_path: Path) -> None:
    record = records.multi_label_job(tmp_path)
    nothing = Example(file="a.jpg", height=1, width=1, image="a.jpg")
    evaluation = record.evaluations[0].model_copy(update={"galleries": {"random": [nothing]}})
    (gallery,) = predictions(record.model_copy(update={"evaluations": [evaluation]}))[0].galleries
    assert gallery.items[0].lines == [("predicted", "no class"), ("actual", "no class")]
    assert gallery.items[0].is_right


def test_the_data(tmp_path: Path) -> None:
    records.classification_job(tmp_path)
    report = read_preflight(tmp_path)
    assert report
    shown = data(report)
    assert sum(line.share for line in shown.classes) == pytest.approx(1)
    assert max(line.bar for line in shown.classes) == 1
    assert not shown.has_values
    assert dict(shown.facts)["Sizes"] == "width 1918, height 1280 pixels"


def test_the_parts_of_a_step_are_all_of_it(tmp_path: Path) -> None:
    times = records.segmentation_job(tmp_path).times
    assert times
    shown = steps(times)
    assert shown
    assert sum(part.share for part in shown.parts) == pytest.approx(1)
    assert sum(part.mean for part in shown.parts) == pytest.approx(shown.mean)
    listed = operators(times)
    assert listed
    assert listed.on_gpu
    assert sum(share for _, share in listed.lines) == pytest.approx(1)


def test_jobs_side_by_side(tmp_path: Path) -> None:
    one = records.segmentation_job(tmp_path / "one")
    run = one.run.model_copy(update={"hyperparameters": one.run.hyperparameters | {"learning_rate": 0.01}})
    other = one.model_copy(update={"run": run, "validation": {"dice": 0.99, "loss": 0.5}, "name": "other"})
    shown = comparison([one, other], ["one", "other"])
    lines = {line.name: line for line in shown.metrics}
    assert lines["Dice, validation"].best == {1}
    assert lines["Loss, validation"].best == {0}
    assert lines["Dice, test"].best == frozenset()
    assert [(line.name, line.values) for line in shown.settings] == [("learning_rate", ["0.001", "0.01"])]
    assert [line.name for line in shown.charts[0].series] == [one.name, "other"]


def test_jobs_that_aim_at_something_else(tmp_path: Path) -> None:
    jobs = [records.segmentation_job(tmp_path / "one"), records.classification_job(tmp_path / "two")]
    lines = {line.name: line for line in comparison(jobs, ["one", "two"]).metrics}
    assert lines["Objective"].values == ["Dice 0.9522", "accuracy 0.8933"]


def test_each_job_has_a_name_of_its_own() -> None:
    assert distinct(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]
