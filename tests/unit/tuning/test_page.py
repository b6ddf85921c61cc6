"""What the page of a search says. How it looks is tried in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import searches

from byoc_vision.describe.space import Categorical, Continuous, Integer
from byoc_vision.tuning import page, plots


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    asked = searches.request()
    return page.render(searches.whole_search(tmp_path_factory.mktemp("search"), asked), asked)


def drawn(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_it_shows_the_result(text: str) -> None:
    for part in ("0.9123", "trial 9, after epoch 4", "9 complete, 1 pruned, 1 failed, 1 running", "Epochs saved"):
        assert part in text
    assert "the unchanged recipe" in text
    assert "40 train and 8 validation images" in text


def test_every_trial_has_a_line_and_names_are_only_text(text: str) -> None:
    assert text.count('class="state"') == 12
    assert "&lt;b&gt;there&lt;/b&gt; is too little memory" in text
    assert "<b>there</b>" not in text


def test_the_plots_hold_their_values(text: str) -> None:
    plots_of_page = drawn(text)
    assert set(plots_of_page) == {"chart-progress", "chart-epochs", "chart-parallel"}
    assert all("0.9123" in json.dumps(plot) for plot in plots_of_page.values())
    assert "9, the best" in json.dumps(plots_of_page["chart-parallel"])


def test_importances_are_shares(tmp_path: Path) -> None:
    """Only the learning rate matters here, and it comes first."""
    asked = searches.request()
    searched = searches.study(tmp_path, asked)
    assert page.importances(searched) == []
    for _ in range(20):
        running = searches.next_trial(searched)
        rate = running.trial.params["learning_rate"]
        searched.end(running, searches.TrialState.COMPLETE, 1 - abs(rate - 0.005))
    found = page.importances(searched)
    assert found[0][0] == "learning_rate"
    assert sum(share for _, share in found) == pytest.approx(1)
    assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)


def test_one_trial_and_equal_metrics_are_drawn_too(tmp_path: Path) -> None:
    asked = searches.request()
    searched = searches.study(tmp_path, asked)
    searches.complete(searched, [0.5])
    alone = page.render(searched, asked)
    assert set(drawn(alone)) == {"chart-progress", "chart-epochs", "chart-parallel"}
    assert "no better trial yet" in alone
    searches.complete(searched, [0.5, float("nan")])
    assert "NaN" not in json.dumps(drawn(page.render(searched, asked))["chart-epochs"])


@given(st.data())
def test_every_value_lies_between_the_ends_of_its_axis(data: st.DataObject) -> None:
    low, high = sorted(data.draw(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=2)))
    found = data.draw(
        st.sampled_from(
            [
                Continuous("x", low, high),
                Continuous("x", low, high, logarithmic=True),
                Integer("x", 1, 1 + round(high), logarithmic=True),
                Categorical("x", ("a", "b", "c")),
                Categorical("x", ("a",)),
            ]
        )
    )
    if isinstance(found, Categorical):
        value: object = data.draw(st.sampled_from(found.values))
    elif isinstance(found, Integer):
        value = data.draw(st.integers(found.low, found.high))
    else:
        value = data.draw(st.floats(found.low, found.high))
    assert -1e-9 <= plots.place(found, value) <= 1 + 1e-9
