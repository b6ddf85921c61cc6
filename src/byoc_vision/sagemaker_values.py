"""How a value written by any SageMaker client is read back.

hyperparameters.json is a flat object of strings, and each client writes a value its own way: plain
text, JSON, JSON quoted once more (framework estimators and their tuners), or Python's repr (boto3 and
the plain v2 Estimator).
"""

from __future__ import annotations

import ast
import json
from typing import Any

# A tuner under a framework estimator quotes twice; one more for a caller who quoted by hand.
_MOST_QUOTES = 3


def decode(value: Any) -> Any:
    """The value that the user meant: `"\\"adam\\""` → `adam`, `True` → True, `[1, 2]` → [1, 2], `None` → None.

    Whatever is neither JSON nor a Python literal is plain text. Numbers stay text where their text is
    not a number in JSON or Python (`1e-3` is one).
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
