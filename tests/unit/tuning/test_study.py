"""Trials in a real database: who gets which, what is kept, and what is tried again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from optuna.trial import TrialState
from support import searches

from byoc_vision import hyperparameters as hp
from byoc_vision.describe.space import Categorical
from byoc_vision.errors import DataError, InputError


def test_the_first_trial_is_the_recipe_itself(tmp_path: Path) -> None:
    running = searches.next_trial(searches.study(tmp_path))
    asked, job = hp.parse(searches.RECIPE), hp.parse(running.hyperparameters)
    varied = [found.name for found in searches.request().space.ranges]
    expected = {name: getattr(asked, name) for name in varied} | {"dropout_rate": 0.0}  # unset: the network's own
    assert {name: getattr(job, name) for name in varied} == expected
    assert job.objective == "accuracy"


def test_every_proposal_is_another_valid_job_within_its_ranges(tmp_path: Path) -> None:
    searched = searches.study(tmp_path)
    running = [searches.next_trial(searched) for _ in range(12)]
    for one in running:
        job = hp.parse(one.hyperparameters)
        assert all(isinstance(value, str) for value in one.hyperparameters.values())
        for found in searched.space.ranges:
            if isinstance(found, Categorical):
                assert one.hyperparameters[found.name] in found.values
            else:
                assert found.low <= getattr(job, found.name) <= found.high
    assert len({tuple(one.hyperparameters.items()) for one in running}) == 12


def test_there_are_no_more_than_asked_for_by_any_process(tmp_path: Path) -> None:
    """Two openings of one study, as two processes have it, and two threads in each."""
    openings = [searches.study(tmp_path), searches.study(tmp_path)]
    with ThreadPoolExecutor(4) as pool:
        running = list(pool.map(lambda at: openings[at % 2].next_trial(7), range(12)))
    numbers = [one.number for one in running if one]
    assert sorted(numbers) == list(range(7))
    assert openings[0].next_trial(7) is None


def test_a_search_goes_on_where_it_was_left(tmp_path: Path) -> None:
    searches.complete(searches.study(tmp_path), [0.5, 0.6])
    again = searches.study(tmp_path)
    assert [trial.number for trial in again.finished] == [0]
    assert again.next_trial(1) is None
    proposed = searches.next_trial(again)
    assert proposed.number == 1
    assert again.best is not None
    assert again.best.value == 0.6


def test_the_same_seed_proposes_the_same(tmp_path: Path) -> None:
    def second(folder: str, seed: int) -> dict[str, str]:
        searched = searches.study(tmp_path / folder, seed=seed)
        searches.complete(searched, [0.5])
        return dict(searches.next_trial(searched).hyperparameters)

    assert second("one", 3) == second("other", 3) != second("third", 4)


def test_what_was_stopped_with_the_search_is_tried_again_and_not_counted(tmp_path: Path) -> None:
    searched = searches.study(tmp_path)
    running = searches.next_trial(searched)
    searched.requeue(running)
    assert searched.trials == []
    repeated = searches.next_trial(searched)
    assert (repeated.number, repeated.hyperparameters) == (1, running.hyperparameters)
    assert searched.next_trial(1) is None


def test_a_trial_of_a_process_that_is_gone_is_tried_again(tmp_path: Path) -> None:
    gone = searches.next_trial(searches.study(tmp_path))
    searched = searches.study(tmp_path)
    assert searched.next_trial(1) is None, "it runs, as far as can be seen"
    gone.lock.release()  # as the end of its process does
    repeated = searches.next_trial(searched)
    assert (repeated.number, repeated.hyperparameters) == (1, gone.hyperparameters)
    assert [trial.number for trial in searched.trials] == [1]


def test_a_trial_worse_than_the_median_is_hopeless(tmp_path: Path) -> None:
    searched = searches.study(tmp_path)
    for figure in (0.5, 0.6, 0.7, 0.8):
        searches.complete(searched, [figure, figure + 0.05, figure + 0.1])
    poor, good = searches.next_trial(searched), searches.next_trial(searched)
    assert not searched.should_prune(poor.trial, 1, 0.1), "the first epoch tells too little"
    assert searched.should_prune(poor.trial, 2, 0.2)
    assert not searched.should_prune(good.trial, 1, 0.1)
    assert not searched.should_prune(good.trial, 2, 0.75)


def test_the_lowest_loss_is_the_best(tmp_path: Path) -> None:
    searched = searches.study(tmp_path, searches.request("validation:loss"))
    for figure in (0.5, 0.3, 0.4):
        searches.complete(searched, [figure])
    assert searched.best is not None
    assert (searched.best.number, searched.best.value) == (1, 0.3)
    assert searched.hyperparameters(searched.best.params)["objective"] == "loss"


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (searches.request("f1"), "the metric, validation:accuracy there and validation:f1 here"),
        (searches.request(learning_rate="0.01"), "the ranges of learning_rate"),
        (searches.request(image_size="64"), "the recipe: image_size"),
        (
            searches.request(data=searches.DATA | {"pictures": {"train": 41, "validation": 8}}),
            "40 train and 8 validation images there and 41 train and 8 validation images here",
        ),
    ],
)
def test_another_search_is_distinguished(tmp_path: Path, other: searches.Request, named: str) -> None:
    searches.study(tmp_path)
    with pytest.raises(InputError, match="holds another search") as refusal:
        searches.study(tmp_path, other)
    assert named in str(refusal.value)
    assert "--output" in str(refusal.value)


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    searches.study(tmp_path)
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match=r"study\.db cannot be read as a study"):
        searches.study(tmp_path)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        searches.study(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be created"):
        searches.study(tmp_path / "file" / "deeper")


def test_states_are_kept_with_their_reasons(tmp_path: Path) -> None:
    searched = searches.study(tmp_path)
    searches.prune(searched, [0.9, 0.95])
    searches.complete(searched, [0.5])
    searches.fail(searched, "Resources: no memory", status=4)
    searches.next_trial(searched)
    states = [trial.state for trial in searched.trials]
    assert states == [TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING]
    assert searched.trials[2].user_attrs["reason"] == "Resources: no memory"
    assert searched.best is not None
    assert searched.best.number == 1, "what was pruned has no figure of its own"
