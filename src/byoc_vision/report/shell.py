"""The page around what is told: its style, its scripts, and the policy by which no others can run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from byoc_vision import __version__
from byoc_vision.atomic_write import write_whole
from byoc_vision.report import formatting, palette
from byoc_vision.report.drawing import library


def rendered(
    template: str, title: str, sections: Sequence[str], plots: Mapping[str, Mapping[str, Any]], **content: Any
) -> str:
    """The page of a template that extends page.html.

    sections: their headings; each has its heading in lower case as its id.
    plots: Bokeh's JSON, by the keys of the elements `chart-KEY` that they are drawn in.
    """
    scripts = [*([library()] if plots else []), _static("page.js")]
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            version=__version__,
            sections=[(name.lower(), name) for name in sections],
            style=Markup(_static("page.css")),
            series=palette.SERIES,
            scripts=[Markup(script) for script in scripts],
            script_hashes=Markup(" ".join(map(_hash, scripts))),
            charts_json=htmlsafe_json_dumps({f"chart-{key}": plot for key, plot in plots.items()}),
            shades_json=htmlsafe_json_dumps(palette.in_the_dark()),
            difference=palette.differences(),
            **content,
        )
    )


def write(path: Path, page: str) -> None:
    """Whole: who reads finds the one before, or this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("byoc_vision.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    for word in (
        formatting.figure,
        formatting.share,
        formatting.count,
        formatting.many,
        formatting.duration,
        formatting.memory,
        formatting.capital,
    ):
        environment.filters[word.__name__] = word
    environment.filters["title_of"] = formatting.title
    return environment


@cache
def _static(name: str) -> str:
    return (files("byoc_vision.report") / "static" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What a Content-Security-Policy allows a script by: no other can run, whatever a name might smuggle in."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
