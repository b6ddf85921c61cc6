"""The errors that are meant to be read.

A `UserError` is one that its reader can fix: the message names the file or the field and the remedy.
Any other exception that reaches `main` is a bug of ours, and is reported as one.
"""

from __future__ import annotations

from collections.abc import Iterable


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
    """Memory, disk, driver or network do not suffice."""

    category = "Resources"
    exit_code = 4


class RequestError(Exception):
    """A request that cannot be answered; becomes an HTTP answer `status` with `{"error": message}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def list_problems(headline: str, problems: Iterable[str], limit: int = 20) -> str:
    """One message that names every problem: the headline, then a line each, `limit` at the most."""
    lines = list(problems)
    shown = [f"  - {line}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"  … and {len(lines) - limit} more")
    return "\n".join([headline, *shown])
