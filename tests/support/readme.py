"""The tables of the README that the program itself makes. `make readme` writes them, a test compares them."""

from __future__ import annotations

import re
from pathlib import Path

from byoc_serve.settings import variables_table
from byoc_vision.hyperparameters_table import hyperparameters_table

README = Path(__file__).resolve().parents[2] / "README.md"


def render(text: str) -> str:
    """The README with its tables made anew, each between its two comments."""
    for marker, table in (("hyperparameters", hyperparameters_table()), ("variables", variables_table())):
        start, end = f"<!-- {marker}: made by `make readme` -->", f"<!-- end of {marker} -->"
        text, count = re.subn(rf"{start}.*?{end}", lambda _, t=table: f"{start}\n{t}\n{end}", text, flags=re.DOTALL)
        assert count == 1, f"the README has no place for the table of {marker}"
    return text


if __name__ == "__main__":
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
