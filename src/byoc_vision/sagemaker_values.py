"""Decodes a value that any SageMaker client wrote.

hyperparameters.json is a flat object of strings, and each client writes values in its own way: plain
text, JSON, JSON quoted once more (framework estimators and their tuners), or Python's repr (boto3 and
the plain v2 Estimator).
"""

from __future__ import annotations

import ast
import json
from typing import Any

# A tuner with a framework estimator quotes twice; one more for users who add quotes.
_MOST_QUOTES = 3


def decode(value: Any) -> Any:
    """The value that the user meant: `"\\"adam\\""` → `adam`, `True` → True, `[1, 2]` → [1, 2], `None` → None.

    Everything else is plain text. A number stays text if it is not a number in JSON or Python (`1e-3` is one).
    """
    for _ in range(_MOST_QUOTES):
        if not isinstance(value, str):
            return value
        text = value.strip()
        parsed = _parse(text)
        if parsed == text and isinstance(parsed, str):
            return text
        value = parsed
    return value


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
