"""Log lines as people and CloudWatch read them: plain text, at once, on stdout."""

from __future__ import annotations

import logging
import sys


def set_up_logging(level: int = logging.INFO) -> None:
    """Everything from `level` up to stdout, one line each; libraries from warnings up."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout, force=True)
    for package in ("byoc_vision", "byoc_serve"):
        logging.getLogger(package).setLevel(level)
