"""The SHA-256 of each file of an artifact, in a file beside them: `checksums.json`.

It is a file of its own, so that images from before it still read `model.json`. Only the names that the caller gives are
looked up: a list from outside cannot point at other files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from byoc_vision.errors import DataError

CHECKSUMS_FILE = "checksums.json"

_ALGORITHM = "sha256"
_LARGEST = 2**20  # bytes of the list


def sha256(path: Path) -> str:
    """Of a file's content, as hexadecimal digits; hashlib lets other threads run meanwhile. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(digests: Mapping[str, str]) -> str:
    """The content of the list: file name → SHA-256."""
    return json.dumps({"algorithm": _ALGORITHM, "files": dict(sorted(digests.items()))}, indent=2) + "\n"


def read(folder: Path) -> dict[str, str] | None:
    """File name → SHA-256, for the artifact in `folder`; None if it has no list. Raises DataError if it is damaged."""
    path = folder / CHECKSUMS_FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST + 1)[:_LARGEST])
        if content["algorithm"] != _ALGORITHM:
            raise DataError(f"{path} holds {content['algorithm']!r}; this image verifies {_ALGORITHM}")
        return {str(name): str(digest) for name, digest in content["files"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}); fetch or train the model again"
        ) from error


def verify(folder: Path, digests: Mapping[str, str], names: Iterable[str]) -> None:
    """Raises DataError, which names the file, if one of `names` is not listed, missing or not what it was; OSError."""
    for name in names:
        path, expected = folder / name, digests.get(name)
        if expected is None:
            raise DataError(f"{path} is not listed in {CHECKSUMS_FILE}; fetch or train the model again")
        try:
            found = sha256(path)
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing; fetch or train the model again") from error
        if found != expected:
            raise DataError(
                f"{path} is damaged or was changed: its SHA-256 is {found[:12]}… and {CHECKSUMS_FILE} says "
                f"{expected[:12]}…; fetch or train the model again, or, if you changed the file yourself, remove "
                f"{CHECKSUMS_FILE}"
            )
