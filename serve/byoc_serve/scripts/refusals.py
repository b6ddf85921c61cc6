"""Which exceptions of a script refuse a request, and with which status.

Every other one is an error of the script, 500.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from byoc_vision.errors import DataError, RequestError

Step = Literal["input_fn", "predict_fn", "output_fn", "transform_fn"]

# Of sagemaker_inference.errors, Pillow and others, by name: a script may import them, the server need not.
_UNSUPPORTED, _TOOLKIT_ERROR = "UnsupportedFormatError", "BaseInferenceToolkitError"
_DAMAGED = {"UnidentifiedImageError", "UnpicklingError", "BadZipFile", "EOFError"}  # the last three by numpy.load
_TOO_LARGE = "ImageTooLarge"

# For docs/scripts.md.
REFUSALS = {
    "`RequestError(status, message)` of `byoc_vision.serving`": "its own",
    "`BaseInferenceToolkitError` of sagemaker_inference, and those derived from it": "its own",
    "`UnsupportedFormatError` of sagemaker_inference": "415; in `output_fn` 406",
    "`ValueError` in `input_fn`, and what JSON, Pillow and NumPy raise there for a damaged body": "400",
    "an image that `decode_image` cannot read": "400; too large: 413",
    "any other, also `ValueError` in the other functions": "500, with an id; the log has the traceback",
}


def refusals_table() -> str:
    """As a Markdown table."""
    rows = [f"| {exception} | {status} |" for exception, status in REFUSALS.items()]
    return "\n".join(["| exception | status |", "| --- | --- |", *rows])


@contextmanager
def as_refusals(step: Step) -> Iterator[None]:
    """Raises RequestError in place of an exception with which the script refuses the request."""
    try:
        yield
    except Exception as error:
        refusal = _refusal(step, error)
        if refusal is None or refusal is error:  # which must not become its own cause
            raise
        raise refusal from error


def _refusal(step: Step, error: Exception) -> RequestError | None:
    if isinstance(error, RequestError):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).strip() or type(error).__name__
    status = getattr(error, "status_code", None)
    if _TOOLKIT_ERROR in names and isinstance(status, int) and 400 <= status <= 599:
        return RequestError(status, str(getattr(error, "message", text)))
    if _UNSUPPORTED in names:
        return RequestError(406 if step == "output_fn" else 415, " ".join(text.split()))
    if isinstance(error, DataError):
        return RequestError(413 if _TOO_LARGE in names else 400, text)
    if step == "input_fn" and (isinstance(error, ValueError) or _DAMAGED & names):
        return RequestError(400, f"input_fn cannot read the body: {type(error).__name__}: {text}")
    return None
