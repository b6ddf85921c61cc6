from __future__ import annotations

from byoc_vision.health.monitor import RULES
from byoc_vision.hyperparameters import health


def test_a_job_may_set_each_threshold_of_each_rule() -> None:
    assert {name: tuple(rule.thresholds()) for name, rule in RULES.items()} == health.RULES


def test_each_rule_is_documented() -> None:
    for name, rule in RULES.items():
        assert rule.meaning().endswith("."), name
        assert rule.evidence, name
        assert rule.remedy, name
        assert all(threshold.meaning for threshold in rule.thresholds().values()), name
