"""LitServe with its batching: eight at the most, 10 ms of waiting, a worker for each core."""

# No `from __future__ import annotations`: LitServe looks at the annotations themselves.
import os
from typing import Annotated, Any

import litserve
import torch
import usual
from fastapi import Body, Response
from PIL import Image
from torch import Tensor


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = usual.load().to(device)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> Image.Image:
        return usual.open_image(request)

    def batch(self, inputs: list[Image.Image]) -> list[Image.Image]:
        return inputs

    def predict(self, x: list[Image.Image]) -> list[tuple[Tensor, Image.Image]]:
        with torch.inference_mode():
            logits = self.model(torch.stack([usual.transform(image) for image in x]))
        return list(zip(logits, x, strict=True))

    def unbatch(self, output: list[tuple[Tensor, Image.Image]]) -> list[tuple[Tensor, Image.Image]]:
        return output

    def encode_response(self, output: tuple[Tensor, Image.Image]) -> Any:
        answer = usual.answer(*output)
        return Response(answer, media_type="image/png") if usual.SEGMENTS else answer


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(max_batch_size=8, batch_timeout=0.01),
        accelerator="cpu",
        workers_per_device=int(os.environ["CORES"]),
        timeout=120,
    )
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="warning")
