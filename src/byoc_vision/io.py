"""Reads SageMaker's configuration files, each of which is one JSON object."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from byoc_vision.errors import InputError


def read_object(path: Path, example: str = "{}") -> dict[str, Any]:
    """The object in `path`; empty if there is no file. Raises InputError that shows an `example`."""
    if not os.path.lexists(path):
        return {}
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; it must hold one object, such as {example}")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows write a mark first
        half = half_character(json.dumps(content, ensure_ascii=False))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); it must hold one object") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); it must be one object, such as {example}") from error
    if half:
        raise InputError(f"{path} holds half of a character, {half}; it must be one object in UTF-8")
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {_kind(content)}; it must be one object, such as {example}")
    return content


def half_character(text: str) -> str | None:
    """The first half of a character, or byte of a command line that is not UTF-8: no file or message can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return ascii(error.object[error.start])
    return None


def _kind(content: object) -> str:
    return {list: "a list", str: "a string", bool: "true or false", type(None): "null"}.get(type(content), "a number")
