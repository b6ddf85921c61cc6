"""What a check before the start found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """state: `failed` keeps the run from starting. text: what was found, for `failed` with the remedy."""

    name: str
    state: Literal["ok", "note", "failed"]
    text: str


def ok(name: str, text: str) -> Finding:
    return Finding(name, "ok", text)


def note(name: str, text: str) -> Finding:
    """Something that could not be checked, or that is worth knowing."""
    return Finding(name, "note", text)


def failed(name: str, text: str) -> Finding:
    return Finding(name, "failed", text)


def show(findings: Iterable[Finding]) -> bool:
    """Print each finding as it comes. Whether nothing failed."""
    passed = True
    print("Checks before anything is uploaded or started:", flush=True)
    for finding in findings:
        first, *others = finding.text.splitlines()
        print(f"  {finding.name:8}  {finding.state:6}  {first}", flush=True)
        for line in others:
            print(f"  {'':16}  {line}", flush=True)
        passed = passed and finding.state != "failed"
    return passed
