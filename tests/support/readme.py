"""The tables of the documentation that the program itself makes. `make readme` writes them, a test compares them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from byoc_vision.training.callbacks.health.index import rules_table

from byoc_serve.settings import variables_table
from byoc_vision.data.formats import formats_text
from byoc_vision.hyperparameters.table import hyperparameters_table

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
HTTP = REPOSITORY / "docs" / "http.md"
HYPERPARAMETERS = REPOSITORY / "docs" / "hyperparameters.md"
HEALTH = REPOSITORY / "docs" / "health.md"

MADE: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"layouts": formats_text, "variables": variables_table},
    HTTP: {"variables": variables_table},
    HYPERPARAMETERS: {"hyperparameters": hyperparameters_table},
    HEALTH: {"rules": rules_table},
}


def render(page: Path) -> str:
    """A page with its tables made anew, each between its two comments."""
    text = page.read_text(encoding="utf-8")
    for marker, make in MADE[page].items():
        start, end = f"<!-- {marker}: made by `make readme` -->", f"<!-- end of {marker} -->"
        before, found, rest = text.partition(start)
        assert found, f"{page.name} has no place for {marker}"
        text = f"{before}{start}\n{make()}\n{end}{rest.partition(end)[2]}"
    return text


def commands(heading: str) -> list[str]:
    """The lines of the shell blocks under a heading of the README."""
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


if __name__ == "__main__":
    for made in MADE:
        made.write_text(render(made), encoding="utf-8")
