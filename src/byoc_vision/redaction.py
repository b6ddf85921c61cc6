"""Secrets in texts: the user name and password of any URL, as in MLFLOW_TRACKING_URI and in the proxies' variables."""

from __future__ import annotations

import re

HIDDEN = "***"

# A password may hold an @, and a slash that should have been percent-encoded; a port is not a password.
_USER_INFO = re.compile(r"""(?<=://)(?:[^\s/?#"'<>\\]*|[^\s/?#"'<>\\@:]{0,100}:(?!\d+[/?#])[^\s"'<>\\@]{0,200})@""")


def redact(text: str) -> str:
    """The text with `***` in place of the user info of the URLs in it."""
    return _USER_INFO.sub(f"{HIDDEN}@", text) if "://" in text else text
