"""The parts of the documentation that are generated from code. `make readme` writes them, a test compares them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from byoc_serve.request_options import options_table
from byoc_serve.scripts.refusals import refusals_table
from byoc_serve.settings import variables_table
from byoc_vision.data.formats import formats_text
from byoc_vision.health.monitor import rules_table
from byoc_vision.hyperparameters.table import hyperparameters_table

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
DATA = REPOSITORY / "docs" / "data.md"
HTTP = REPOSITORY / "docs" / "http.md"
HYPERPARAMETERS = REPOSITORY / "docs" / "hyperparameters.md"
HEALTH = REPOSITORY / "docs" / "health.md"
SCRIPTS = REPOSITORY / "docs" / "scripts.md"

GENERATED: dict[Path, dict[str, Callable[[], str]]] = {
    DATA: {"layouts": formats_text},
    HTTP: {"options": options_table, "variables": variables_table},
    HYPERPARAMETERS: {"hyperparameters": hyperparameters_table},
    HEALTH: {"rules": rules_table},
    SCRIPTS: {"refusals": refusals_table},
}


def render(page: Path) -> str:
    """A page with its generated parts up to date, each between its two comments."""
    text = page.read_text(encoding="utf-8")
    for marker, make in GENERATED[page].items():
        start, end = f"<!-- {marker}: made by `make readme` -->", f"<!-- end of {marker} -->"
        before, found, rest = text.partition(start)
        assert found, f"{page.name} has no place for {marker}"
        text = f"{before}{start}\n{make()}\n{end}{rest.partition(end)[2]}"
    return text


def commands(heading: str, page: Path = README) -> list[str]:
    """The lines of the shell blocks under a heading of a page, up to the next one."""
    text = "\n" + page.read_text(encoding="utf-8")
    section = re.split(rf"\n##? {re.escape(heading)}\n", text)[1].split("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


if __name__ == "__main__":
    for generated in GENERATED:
        generated.write_text(render(generated), encoding="utf-8")
