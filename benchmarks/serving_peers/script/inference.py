"""The same functions as a script of the user's own on our server, which gathers batches for it."""

from __future__ import annotations

import json
from typing import Any

import usual

BATCHING = True


def model_fn(model_dir: str) -> Any:
    return usual.load()


def input_fn(request_body: bytes, content_type: str) -> Any:
    image = usual.open_image(request_body)
    return image, usual.transform(image)


def predict_fn(data: list[Any], model: Any) -> list[Any]:
    with usual.torch.inference_mode():
        logits = model(usual.torch.stack([tensor for _, tensor in data]))
    return [(one, image) for one, (image, _) in zip(logits, data, strict=True)]


def output_fn(prediction: Any, accept: str) -> tuple[Any, str]:
    answer = usual.answer(*prediction)
    return (answer, "image/png") if usual.SEGMENTS else (json.dumps(answer), "application/json")
