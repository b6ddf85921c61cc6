"""What is not in this stand-in says so."""

from __future__ import annotations

from typing import NoReturn


def refuse(owner: str, name: str) -> NoReturn:
    """Raises AttributeError, which says that the library is not the real one."""
    raise AttributeError(
        f"{owner} has no {name!r}: this is the image's stand-in for smdebug, which is retired; it records losses and "
        "scalars. docs/scripts.md lists what it offers; remove the call, or install the real library"
    )
