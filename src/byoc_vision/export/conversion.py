"""What the converters cannot do, told as the user's matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError, UserError
from byoc_vision.export.formats import FORMATS

_LONGEST_REASON = 200


class ConversionError(InputError):
    """This network does not go into that format."""


@contextmanager
def conversion(config: ModelConfig, format_name: str) -> Iterator[None]:
    """Raises ConversionError for whatever a converter, or a runtime that reads what it made, raises inside.

    Their errors have no class in common: OpenVINO's come straight from Exception.
    """
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        name = config.model.architecture + (f" with encoder={config.model.encoder}" if config.model.encoder else "")
        others = ", ".join(other for other in FORMATS if other != format_name)
        raise ConversionError(
            f"model={name} cannot be brought into the format {format_name} ({_reason(error)}); take another: {others}"
        ) from error


def _reason(error: Exception) -> str:
    """The line that says most. OpenVINO's comes last, with a dash."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line.removeprefix("-- ") for line in lines if line.startswith("-- No conversion rule")]
    reason = (telling or lines or [type(error).__name__])[0]
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
