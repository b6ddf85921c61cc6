"""Log lines for people and CloudWatch, unbuffered on stdout: plain text, or JSON for searches."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType

from byoc_vision.redaction import redact


class Redaction(logging.Filter):
    """Hides the user info of URLs in a record: message, traceback, stack and fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info:
            record.exc_text = redact(record.exc_text or logging.Formatter().formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        if fields := getattr(record, "fields", None):
            record.fields = {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}
        return True


class JsonLines(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message, traceback, and the `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logging(level: int = logging.INFO, as_json: bool = False) -> None:
    """Log to stdout, one line each: this package from `level` up, libraries from warnings up.

    No line shows the user info of a URL; nor does an exception that ends the process.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout, force=True)
    logging.captureWarnings(as_json)
    sys.excepthook = _show_uncaught
    redact_lines_of(logging.getLogger())
    if as_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
    for package in ("byoc_vision", "byoc_serve"):
        logging.getLogger(package).setLevel(level)


def redact_lines_of(logger: logging.Logger) -> None:
    """Hide the user info of URLs in what the logger's own handlers write."""
    for handler in logger.handlers:
        if not any(isinstance(present, Redaction) for present in handler.filters):
            handler.addFilter(Redaction())


def _show_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
