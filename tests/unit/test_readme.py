"""The README says what is true today: its tables are those that the program makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.readme import MADE, README, REPOSITORY, render

TEXT = README.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", MADE, ids=lambda page: page.name)
def test_the_tables_are_up_to_date(page: Path) -> None:
    assert render(page) == page.read_text(encoding="utf-8"), "run `make readme`"


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_make_targets_and_commands_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", TEXT)) - {"and"}
    assert named <= targets
    scripts = re.findall(r"(?:sh|python3) (local_test/[a-z_]+\.(?:sh|py))", TEXT)
    assert scripts
    assert all((REPOSITORY / script).is_file() for script in scripts)
