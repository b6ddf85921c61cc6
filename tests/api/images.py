"""What schemathesis sends: real images, where the description of the API says that an image goes.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS). Random bytes, as it would send by itself, are refused as they should
be, and would show nothing of the answers.
"""

from __future__ import annotations

import base64
import json
from itertools import count

import numpy as np
import schemathesis
from hypothesis import strategies as st
from schemathesis.transport.serialization import Binary
from support.images import encode, npy

from byoc_serve.decode import IMAGE_TYPES, JSON_LINES

SHAPES = ((1, 1), (8, 13, 3), (40, 30, 3), (200, 16, 3))
ARRAYS = [np.random.default_rng(0).integers(0, 256, shape, np.uint8) for shape in SHAPES]
FILES = [encode(array, kind) for array in ARRAYS for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")]

files = st.sampled_from(FILES)
arrays = st.sampled_from([npy(array) for array in ARRAYS])


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def lines_of(images: list[bytes]) -> bytes:
    return "".join(json.dumps({"image": base64_of(image)}) + "\n" for image in images).encode()


lines = st.lists(files, min_size=1, max_size=3).map(lines_of)
for name in JSON_LINES:
    schemathesis.openapi.media_type(name, lines)
for name in IMAGE_TYPES:
    schemathesis.openapi.media_type(name, files)
schemathesis.openapi.media_type("application/x-npy", arrays)
schemathesis.openapi.media_type("application/octet-stream", files | arrays)
for name in JSON_LINES:
    lines = st.lists(files, min_size=1, max_size=3)
    texts = lines.map(
        lambda each: "".join(json.dumps({"image": base64.b64encode(one).decode()}) + "\n" for one in each)
    )
    schemathesis.openapi.media_type(name, texts.map(str.encode))
schemathesis.openapi.format("byte", files.map(lambda content: base64.b64encode(content).decode()))
schemathesis.openapi.format("binary", files.map(Binary))

turns = count()


def with_equal_rows(body: object) -> object:
    """A body whose lists of numbers are real images: JSON Schema has no way to say that rows are equally long."""
    image = ARRAYS[next(turns) % len(ARRAYS)].tolist()
    if is_nested(body):
        return image
    if isinstance(body, dict):
        several = {"instances", "inputs"}
        return {
            key: ([image] if key in several else image) if is_nested(value) else value for key, value in body.items()
        }
    return body


def is_nested(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, object]) -> None:
    """Ask for each of the forms of answer in turn; OpenAPI has no way to say that Accept chooses."""
    if case.operation.path != "/invocations":
        return
    if case.media_type == "application/json" and case.meta.generation.mode.is_positive:
        case.body = with_equal_rows(case.body)
    answers = list(case.operation.definition.raw["responses"]["200"]["content"])
    case.query.pop("view", None)  # the same as a parameter of Accept, and not of each of its forms
    if case.media_type not in (*IMAGE_TYPES, "application/octet-stream", "application/x-npy"):  # may hold several
        answers = [answer for answer in answers if answer.startswith("application/json")]
    case.headers["Accept"] = answers[next(turns) % len(answers)]
