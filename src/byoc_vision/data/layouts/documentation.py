"""The layouts' documentation, made from the layouts that read the data."""

from __future__ import annotations

from byoc_vision.data.layouts import LAYOUTS


def layouts_text() -> str:
    """Markdown: what each layout is called, what it is for, and an example of its tree."""
    trees: dict[str, tuple[str, str]] = {}
    tasks: dict[str, list[str]] = {}
    for layout in LAYOUTS:
        trees.setdefault(layout.name, (layout.title, layout.tree))
        tasks.setdefault(layout.name, []).append(layout.task)
    return "\n\n".join(
        f"`{name}`, {' or '.join(dict.fromkeys(tasks[name]))}: {title}\n\n```\n{tree}\n```"
        for name, (title, tree) in trees.items()
    )
