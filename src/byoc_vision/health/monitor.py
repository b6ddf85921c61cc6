"""Gives the facts to the rules; their findings go to the log and into the record."""

from __future__ import annotations

import logging
import threading
from typing import Any, TypeVar

from byoc_vision.health import learning_rules, speed_rules, tensor_rules
from byoc_vision.health.rule import Rule, Sign
from byoc_vision.hyperparameters.health import HealthSettings
from byoc_vision.report.record import Finding

logger = logging.getLogger(__name__)

RULES: dict[str, type[Rule[Any]]] = {
    rule.name(): rule for part in (learning_rules, tensor_rules, speed_rules) for rule in part.RULES
}
"""By name."""

Kind = TypeVar("Kind", bound=Rule[Any])

_WORSE = 2.0  # times as severe as when it was reported: then it is reported again


class HealthMonitor:
    """The rules of a run, and their findings so far. `judge` may be called from any thread."""

    def __init__(self, settings: HealthSettings | None = None) -> None:
        self.settings = settings or HealthSettings()
        self.findings: list[Finding] = []
        self._severities: dict[str, float] = {}
        self._lock = threading.Lock()
        self._rules: list[Rule[Any]] = [
            rule(self.settings.thresholds.get(name))
            for name, rule in RULES.items()
            if self.settings.action_of(name) != "none"
        ]

    @property
    def stopped_by(self) -> Finding | None:
        """The finding for which the training is to end."""
        return next((finding for finding in self.findings if finding.action == "stop"), None)

    @property
    def is_idle(self) -> bool:
        """Whether the job wants no rules."""
        return not self._rules

    def rule(self, kind: type[Kind]) -> Kind | None:
        """None if the job does not want it."""
        return next((rule for rule in self._rules if isinstance(rule, kind)), None)

    def judge(self, facts: object, epoch: int, step: int | None = None) -> None:
        """Let each rule of this kind of facts judge them."""
        with self._lock:
            for rule in self._rules:
                if rule.facts is type(facts) and (sign := rule.judge(facts)) and self._is_new(rule.name(), sign):
                    self._report(rule, sign, epoch, step)

    def evidence(self, rule: str) -> str:
        """What a rule has found, for an error's message; empty if it has found nothing."""
        return next((finding.evidence for finding in self.findings if finding.rule == rule), "")

    def state_dict(self) -> dict[str, Any]:
        """What was reported, so that a resumed run does not report it again."""
        return {"findings": [finding.model_dump() for finding in self.findings], "severities": dict(self._severities)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What stopped the run is only a finding now: the job was started again."""
        findings = [Finding.model_validate(finding) for finding in state["findings"]]
        self.findings[:] = [finding.model_copy(update={"action": "warn"}) for finding in findings]
        self._severities = dict(state["severities"])

    def _is_new(self, name: str, sign: Sign) -> bool:
        reported = self._severities.get(name)
        if reported is not None and sign.severity < _WORSE * reported:
            return False
        self._severities[name] = sign.severity
        return True

    def _report(self, rule: Rule[Any], sign: Sign, epoch: int, step: int | None) -> None:
        name = rule.name()
        stops = self.settings.action_of(name) == "stop"
        finding = Finding(
            rule=name,
            epoch=epoch,
            step=step,
            evidence=sign.evidence,
            remedy=sign.remedy or rule.remedy,
            action="stop" if stops else "warn",
        )
        self.findings.append(finding)
        place = f"epoch {epoch}" + (f", step {step}" if step else "")
        logger.warning(
            "%s (%s): %s. Remedy: %s%s",
            name,
            place,
            finding.evidence,
            finding.remedy,
            f". The training stops, since health_action says {name}=stop" if stops else "",
        )


def rules_table() -> str:
    """A Markdown table: each rule, what it finds, its thresholds, what it shows and what to do."""
    rows = ["| rule | finds | thresholds | evidence | remedy |", "| --- | --- | --- | --- | --- |"]
    for name, rule in RULES.items():
        thresholds = "<br>".join(
            f"`{key}={value.default:g}`: {value.meaning}" for key, value in rule.thresholds().items()
        )
        rows.append(f"| `{name}` | {rule.meaning()} | {thresholds or '–'} | {rule.evidence} | {rule.remedy} |")
    return "\n".join(rows)
