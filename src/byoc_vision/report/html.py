"""The frame of every page: style, scripts, and the policy that lets no other script run."""

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


def render_page(
    template: str, title: str, sections: Sequence[str], plots: Mapping[str, Mapping[str, Any]], **content: Any
) -> str:
    """Render a template that extends page.html.

    sections: their headings; a section's id is its heading in lower case.
    plots: Bokeh's JSON; the plot of KEY is drawn in the element `chart-KEY`.
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
            shades_json=htmlsafe_json_dumps(palette.dark_colours()),
            difference=palette.difference_colours(),
            **content,
        )
    )


def write_page(path: Path, page: str) -> None:
    """Write the file as a whole. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("byoc_vision.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    for name in ("number", "share", "count", "many", "duration", "memory", "capital", "heading"):
        environment.filters[name] = getattr(formatting, name)
    return environment


@cache
def _static(name: str) -> str:
    return (files("byoc_vision.report") / "static" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """For the Content-Security-Policy: no other script can run, whatever names from the data contain."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
