"""Comments, docstrings, log lines and errors use the plain words of CONTRIBUTING.md."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.english import banned_words
from support.readme import REPOSITORY

FOLDERS = ("src", "serve", "docker", "container", "local_test", "benchmarks", "tests")
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (REPOSITORY / folder).rglob("*")
    if path.suffix in {".py", ".sh", ".html", ".js"} or path.name == "Dockerfile"
)
WORD_LISTS = {Path(__file__), REPOSITORY / "tests/support/english.py"}
TEXTS = ("COMMENT", "STRING", "FSTRING_MIDDLE")  # from Python 3.12 on, f-strings have tokens of their own


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_english_of_the_code_is_plain(folder: str) -> None:
    files = [path for path in FILES if path.is_relative_to(REPOSITORY / folder) and path not in WORD_LISTS]
    assert files
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {word}"
        for path in files
        for line, text in texts(path)
        for word in banned_words(text)
    ]
    assert found == []


def test_comments_docstrings_and_messages_are_read_and_names_are_not(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        '"""Mend it."""\n'
        "told = 1  # nobody sees this, but `told` is a name\n"
        'error = f"{told} is no number"\n'
        'error = "there is no file; it is no longer there"\n'
        'folder = "pictures"\n'
        "'''Whoever reads this is\n   no engineer. Two pictures.'''\n"
    )
    found = [(line, word) for line, text in texts(source) for word in banned_words(text)]
    assert found == [(1, "Mend"), (2, "nobody"), (3, "is no"), (6, "Whoever"), (6, "is no"), (6, "pictures")]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the text of each comment and string of a Python file, or of each line of another file."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if tokenize.tok_name[token.type] in TEXTS:
                yield token.start[0], re.sub(r"`[^`]*`|\{[^{}]*\}", "…", token.string)
