"""multi-model-server, which SageMaker's own containers are built on: a worker for each core."""

from __future__ import annotations

from typing import Any

import usual

_model: Any = None


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """Called by the server: with None to load the model, then with requests."""
    global _model
    if _model is None:
        _model = usual.load()
    if data is None:
        return None
    for index in range(len(data)):
        context.set_response_content_type(index, "image/png" if usual.SEGMENTS else "application/json")
    return usual.predict(_model, [usual.open_image(bytes(row.get("data") or row["body"])) for row in data])
