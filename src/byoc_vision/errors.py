"""The errors that users read.

A `UserError` is one that the user can fix: its message names the file or the setting and the remedy.
Any other exception that reaches `main` is reported as an internal error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class UserError(Exception):
    """Something that the user can fix.

    `category` opens the failure message and `exit_code` is the status the process ends with.
    """

    category = "Your input"
    exit_code = 2


class InputError(UserError):
    """A hyperparameter, a channel, a setting or an argument is wrong."""


class DataError(UserError):
    """An image, a mask, a label or a model file is wrong."""

    category = "Your data"
    exit_code = 3


class ResourceError(UserError):
    """Memory, disk, driver or network are not sufficient."""

    category = "Resources"
    exit_code = 4


class RequestError(Exception):
    """An invalid request; becomes an HTTP response with `status` and `{"error": message}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def few(names: Sequence[object], most: int) -> str:
    """`cat, dog, …`: the first of some names or numbers, for a message."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def list_problems(headline: str, problems: Iterable[str], limit: int = 20) -> str:
    """One message with all problems: the headline, then a line for each, at most `limit`."""
    lines = list(problems)
    shown = [f"  - {line}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"  … and {len(lines) - limit} more")
    return "\n".join([headline, *shown])


def error_lines(error: BaseException) -> list[str]:
    """What an error says, line by line; its kind if it says nothing."""
    return str(error).strip().splitlines() or [type(error).__name__]
