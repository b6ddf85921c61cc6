from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.hyperparameters.health import ACTIONS, RULES, read_actions, read_settings, read_thresholds

THRESHOLDS = [(rule, name) for rule, names in RULES.items() for name in names]


def test_actions() -> None:
    settings = read_settings("stop, ExplodingTensor=warn, overfit=none", "")
    assert settings.action_of("DeadRelu") == "stop"
    assert settings.action_of("ExplodingTensor") == "warn"
    assert settings.action_of("Overfit") == "none"


def test_thresholds() -> None:
    expected = {"DeadRelu": {"share": 0.6}, "VanishingGradient": {"mean": 1e-8}}
    assert read_thresholds("DeadRelu.share=0.6, VanishingGradient.mean=1e-8") == expected
    assert read_thresholds(expected) == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("health_action", "Overfitt=stop", "the rule Overfitt is not known; did you mean Overfit?"),
        ("health_action", "halt, Overfit=sop", "the action halt is not known; it is one of"),
        ("health_action", "Overfit=sop", "the action sop is not known; did you mean stop?"),
        ("health_action", "[1]", "is text such as"),
        ("health_thresholds", "DeadRelu.shar=0.6", "did you mean DeadRelu.share?"),
        ("health_thresholds", "DeadRelu=0.6", "the threshold DeadRelu is not known"),
        ("health_thresholds", "DeadRelu.share", "is not of the form Rule.threshold=number"),
        ("health_thresholds", "DeadRelu.share=much", "DeadRelu.share=much is not a number"),
        ("health_thresholds", '{"DeadRelu": {"share": NaN}}', "is not a number"),
    ],
)
def test_what_is_not_known_is_named_with_the_nearest(name: str, value: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse({name: value})
    assert str(caught.value).startswith("A hyperparameter is wrong:")
    assert f"{name}: " in str(caught.value)
    assert said in str(caught.value)


@settings(deadline=None)
@given(st.sampled_from(ACTIONS), st.dictionaries(st.sampled_from(sorted(RULES)), st.sampled_from(ACTIONS)))
def test_actions_as_text_and_as_json_are_the_same(general: str, actions: dict[str, str]) -> None:
    text = ", ".join([general, *(f"{rule}={action}" for rule, action in actions.items())])
    assert read_actions(text) == (general, actions) == read_actions({"all": general, **actions})
    spelt = parse({"health_action": text})
    assert spelt == parse({"health_action": json.dumps({"all": general, **actions})})
    assert read_actions(spelt.health_action) == (general, actions)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(THRESHOLDS), st.floats(0, 1e12)))
def test_thresholds_as_text_and_as_json_are_the_same(given: dict[tuple[str, str], float]) -> None:
    flat = {f"{rule}.{name}": value for (rule, name), value in given.items()}
    text = ", ".join(f"{name}={value!r}" for name, value in flat.items())
    assert read_thresholds(text) == read_thresholds(flat)
    spelt = parse({"health_thresholds": text})
    assert spelt == parse({"health_thresholds": json.dumps(flat)})
    assert read_thresholds(spelt.health_thresholds) == read_thresholds(flat)


@settings(deadline=None)
@given(st.text(string.printable, max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for name, read in (("health_action", read_actions), ("health_thresholds", read_thresholds)):
        try:
            parsed = parse({name: text})
        except InputError:
            continue
        read(getattr(parsed, name))
