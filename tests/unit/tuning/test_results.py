"""The best model, its hyperparameters, the table, and what becomes of the other trials' folders."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support import searches

from byoc_vision import hyperparameters as hp
from byoc_vision.paths import MlPaths
from byoc_vision.tuning import results
from byoc_vision.tuning.study import Study
from byoc_vision.tuning.trial_job import SPARED, TrialJob


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """With what is written of it."""
    asked = searches.request()
    searched = searches.whole_search(tmp_path_factory.mktemp("search"), asked)
    results.write(searched.folder, searched, asked)
    return searched


def leave(searched: Study, number: int) -> MlPaths:
    """As a job leaves it."""
    paths = searched.folder.trial(number)
    for folder in (paths.model, paths.output_data / "pictures", paths.channels):
        folder.mkdir(parents=True)
    (paths.model / "model.json").write_text(str(number))
    (paths.output_data / "metrics.json").write_text("{}")
    return paths


def test_the_best_model_takes_its_place_and_no_other_stays(tmp_path: Path) -> None:
    searched = searches.study(tmp_path)
    for figure, best in ((0.5, 0), (0.7, 1), (0.6, 1)):
        leave(searched, searches.complete(searched, [figure]))
        results.keep_best(searched.folder, searched)
        results.keep_best(searched.folder, searched)  # as another process may
        assert (searched.folder.model / "model.json").read_text() == str(best)
    trials = [searched.folder.trial(number) for number in range(3)]
    assert not any(paths.model.exists() or paths.channels.exists() for paths in trials)
    assert [(paths.output_data / "pictures").exists() for paths in trials] == [False, True, False]
    assert all((paths.output_data / "metrics.json").exists() for paths in trials)


def test_what_a_command_that_was_killed_left_is_removed(tmp_path: Path) -> None:
    searched = searches.study(tmp_path)
    gone = searches.next_trial(searched)
    left = leave(searched, gone.number)
    gone.lock.release()
    results.keep_best(searched.folder, searched)
    assert left.model.exists(), "it may still run, until somebody else begins a trial"
    searches.complete(searched, [0.5])
    results.keep_best(searched.folder, searched)
    assert not left.model.exists()


def test_the_best_hyperparameters_are_a_recipe(searched: Study) -> None:
    found = json.loads(searched.folder.best_hyperparameters.read_text())
    assert all(isinstance(value, str) for value in found.values())
    assert not set(SPARED) & set(found), "what trials do without, the model need not"
    job = hp.parse(found)
    assert searched.best is not None
    assert job.batch_size == searched.best.params["batch_size"]
    assert (job.model, job.objective) == ("test_resnet", "accuracy")


def test_the_table_has_a_line_for_each_trial(searched: Study) -> None:
    with searched.folder.table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["state"] for line in lines[7:]] == ["complete", "pruned", "complete", "failed"]
    assert (lines[9]["validation:accuracy"], lines[9]["best_epoch"]) == ("0.9123", "4")
    assert lines[8]["epochs_done"] == "2 of 4"
    assert "too little memory" in lines[10]["reason"]
    assert float(lines[0]["learning_rate"]) == 0.001


def test_a_trial_without_any_result_leaves_a_table_and_a_page(tmp_path: Path) -> None:
    asked = searches.request()
    searched = searches.study(tmp_path, asked)
    results.write(searched.folder, searched, asked)
    results.complete_best(searched.folder, searched, asked)
    assert not searched.folder.best_hyperparameters.exists()
    assert "No trial is complete yet" in searched.folder.page.read_text()


def test_why_a_job_failed_is_one_line_that_says_it(tmp_path: Path) -> None:
    job = TrialJob(MlPaths(tmp_path))
    assert "SIGKILL" in job.why_it_failed(-9)
    assert "memory" in job.why_it_failed(-9)
    assert str(job.log_file) in job.why_it_failed(1)
    job.paths.failure.parent.mkdir(parents=True)
    job.paths.failure.write_text("Your input: A hyperparameter is wrong:\n  - epochs: is too large\nTraceback\n")
    assert job.why_it_failed(2) == "Your input: A hyperparameter is wrong: - epochs: is too large"
    job.paths.failure.write_text("Resources: no memory\nTraceback\n")
    assert job.why_it_failed(4) == "Resources: no memory"


def test_images_are_linked_and_never_removed(tmp_path: Path) -> None:
    images = tmp_path / "pictures"
    images.mkdir()
    (images / "1.jpg").write_bytes(b"picture")
    job = TrialJob(MlPaths(tmp_path / "trial"))
    for _ in range(2):  # a repeated trial finds the folder of the one before
        job.prepare({"epochs": "1"}, {"train": images})
        assert (job.paths.channel("train") / "1.jpg").read_bytes() == b"picture"
        assert json.loads(job.paths.hyperparameters.read_text()) == {"epochs": "1", **SPARED}
    job.tidy()
    assert (images / "1.jpg").exists()
    assert not job.paths.channels.exists()
