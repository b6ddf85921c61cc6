"""The layouts' documentation, made from the layouts that read the data."""

from __future__ import annotations

from collections.abc import Sequence

from byoc_vision.data.formats import FORMATS
from byoc_vision.data.formats.base import DataFormat

_GENERAL = ("class_folders", "pictures_and_masks")  # what most people have comes first


def layouts_text() -> str:
    """Markdown: what each layout is called, what it is for, and an example of each of its trees."""
    of_name: dict[str, list[DataFormat]] = {}
    for layout in FORMATS:
        of_name.setdefault(layout.name, []).append(layout)
    names = sorted(of_name, key=lambda name: name not in _GENERAL)
    return "\n\n".join(_paragraph(name, of_name[name]) for name in names)


def _paragraph(name: str, layouts: Sequence[DataFormat]) -> str:
    tasks = " or ".join(dict.fromkeys(layout.task for layout in layouts))
    titles = "; ".join(dict.fromkeys(layout.title for layout in layouts))
    trees = [layout.tree for layout in layouts]
    apart = [tree for tree in dict.fromkeys(trees) if not any(tree != other and tree in other for other in trees)]
    shown = "\n\n".join(apart)
    return f"`{name}`, {tasks}: {titles}\n\n```\n{shown}\n```"
