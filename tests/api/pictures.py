"""What schemathesis sends: real pictures, where the description of the API says that a picture goes.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS). Random bytes, as it would send by itself, are refused as they should
be, and would show nothing of the answers.
"""

from __future__ import annotations

import base64
from itertools import count

import numpy as np
import schemathesis
from hypothesis import strategies as st
from schemathesis.transport.serialization import Binary
from support.pictures import encode, npy

from byoc_serve.media import IMAGE_TYPES

SHAPES = ((1, 1), (8, 13, 3), (40, 30, 3), (200, 16, 3))
ARRAYS = [np.random.default_rng(0).integers(0, 256, shape, np.uint8) for shape in SHAPES]
FILES = [encode(array, kind) for array in ARRAYS for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")]

files = st.sampled_from(FILES)
arrays = st.sampled_from([npy(array) for array in ARRAYS])

for name in IMAGE_TYPES:
    schemathesis.openapi.media_type(name, files)
schemathesis.openapi.media_type("application/x-npy", arrays)
schemathesis.openapi.media_type("application/octet-stream", files | arrays)
schemathesis.openapi.format("byte", files.map(lambda content: base64.b64encode(content).decode()))
schemathesis.openapi.format("binary", files.map(Binary))

turns = count()


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, object]) -> None:
    """Ask for each of the forms of answer in turn; OpenAPI has no way to say that Accept chooses."""
    if case.operation.path != "/invocations":
        return
    answers = list(case.operation.definition.raw["responses"]["200"]["content"])
    if case.media_type in ("application/json", "multipart/form-data"):  # may hold several pictures
        answers = [answer for answer in answers if answer.startswith("application/json")]
    case.headers["Accept"] = answers[next(turns) % len(answers)]
