"""The tables of the README that the program itself makes. `make readme` writes them, a test compares them."""

from __future__ import annotations

from pathlib import Path

from byoc_serve.settings import variables_table
from byoc_vision.hyperparameters.table import hyperparameters_table

README = Path(__file__).resolve().parents[2] / "README.md"


def render(text: str) -> str:
    """The README with its tables made anew, each between its two comments."""
    for marker, table in (("hyperparameters", hyperparameters_table()), ("variables", variables_table())):
        start, end = f"<!-- {marker}: made by `make readme` -->", f"<!-- end of {marker} -->"
        before, found, rest = text.partition(start)
        assert found, f"the README has no place for the table of {marker}"
        text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
