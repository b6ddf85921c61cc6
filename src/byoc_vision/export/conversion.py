"""Turns a converter's failure into an error that the user understands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError, UserError
from byoc_vision.export.formats import FORMATS

_LONGEST_REASON = 200


class ConversionError(InputError):
    """The network cannot be converted to the format."""


@contextmanager
def conversion(config: ModelConfig, format_name: str) -> Iterator[None]:
    """Raises ConversionError for every error of a converter, or of a runtime that loads the converted model.

    Their errors have no common class: OpenVINO's derive directly from Exception.
    """
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        name = config.model.architecture + (f" with encoder={config.model.encoder}" if config.model.encoder else "")
        others = ", ".join(other for other in FORMATS if other != format_name)
        raise ConversionError(
            f"model={name} cannot be converted to the format {format_name} ({_reason(error)}); use another: {others}"
        ) from error


def _reason(error: Exception) -> str:
    """The most informative line of an error. OpenVINO puts it last, after a dash."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing_rules = [line.removeprefix("-- ") for line in lines if line.startswith("-- No conversion rule")]
    reason = (missing_rules or lines or [type(error).__name__])[0]
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
