"""The generated parts of the documentation are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.readme import GENERATED, render


@pytest.mark.parametrize("page", GENERATED, ids=lambda page: page.name)
def test_the_generated_parts_are_up_to_date(page: Path) -> None:
    assert render(page) == page.read_text(encoding="utf-8"), "run `make readme`"
