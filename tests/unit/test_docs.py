"""The documentation holds together: links resolve, commands exist, the English is plain."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.english import banned_words
from support.readme import README, REPOSITORY

PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    *(page for folder in ("docs", "examples", "benchmarks") for page in sorted((REPOSITORY / folder).rglob("*.md"))),
]
ARCHITECTURE = REPOSITORY / "ARCHITECTURE.md"
PACKAGES = (REPOSITORY / "src" / "byoc_vision", REPOSITORY / "serve" / "byoc_serve")
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
MOST_LINES = 170  # of the README


def names(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_make_targets_and_scripts_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    calls = re.findall(r"(?:`|^)make((?: [a-z-]+(?![a-z=-]))+)", text, re.MULTILINE)
    assert {target for call in calls for target in call.split()} <= targets
    scripts = re.findall(r"(?:python|python3|sh) ((?:local_test|examples|benchmarks|docker)/[\w/]+\.\w+)", text)
    assert [script for script in scripts if not (REPOSITORY / script).is_file()] == []


TEST_PATH = re.compile(r"`((?:unit|integration|slow|container|browser|api|recipes|tuning|tracking|hostile)/[\w/]+\.py)")


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_the_tests_that_hold_a_promise_exist(page: Path) -> None:
    named = TEST_PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in named if not (REPOSITORY / "tests" / path).is_file()] == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_index_lists_every_page() -> None:
    docs = REPOSITORY / "docs"
    assert {page.name for page in docs.glob("*.md")} - {"README.md"} <= set(links(docs / "README.md"))


def test_the_modules_of_the_architecture_exist() -> None:
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", ARCHITECTURE.read_text(encoding="utf-8")))
    assert named
    roots = (REPOSITORY, *PACKAGES)
    assert sorted(path for path in named if not any((root / path).exists() for root in roots)) == []


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=names)
def test_the_english_is_plain(page: Path) -> None:
    assert list(banned_words(prose(page))) == []


def links(page: Path) -> list[str]:
    """The targets of a page's links and images that lie in this repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    plain = (re.sub(r"\]\([^)]*\)", "", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def prose(page: Path) -> str:
    """A page's own sentences: without code, addresses, and what `make readme` generates from code."""
    text = "\n\n".join(markdown_cells(page)) if page.suffix == ".ipynb" else page.read_text(encoding="utf-8")
    text = re.sub(r"<!-- (\w+): made by `make readme` -->.*?<!-- end of \1 -->", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\n(\|.*\n)+", "", text)  # a table that another test compares with code
    return re.sub(r"\]\([^)]*\)|https?://\S+", "]", without_code(text))


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?: {4}.*\n)+", "", text, flags=re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def markdown_cells(notebook: Path) -> Iterator[str]:
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            yield "".join(cell["source"])
