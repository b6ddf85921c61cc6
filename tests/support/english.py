"""The words that CONTRIBUTING.md replaces, for the tests of the documentation and of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator

BANNED = (
    r"anew",
    r"mend(s|ed|ing)?",
    r"lest",
    r"heed(s|ed|ing)?",
    r"whoever",
    r"nobody",
    r"told",
    r"(?<!there )(is|are) no(?! longer| more)",
    r"others than",
    r"(is|are) to be had",
    r"asks nothing of",
    r"our bug",
    r"bugs? of ours",
    r"(?<![-\w\"'/$])pictures?(?![\w/\"'=]|\.\w)",
)
"""Each is a whole word, in any case. `picture` stays in names, such as `--pictures`, `pictures/` and `"pictures"`."""

_FOUND = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)


def banned_words(text: str) -> Iterator[str]:
    """The banned words in a text, in order; a phrase may continue on the next line."""
    return (match.group() for match in _FOUND.finditer(re.sub(r"\s+", " ", text)))
