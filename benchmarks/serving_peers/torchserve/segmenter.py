"""TorchServe has handlers for classifiers; this is one for masks, on its base class for images."""

from __future__ import annotations

import usual
from torch import Tensor
from ts.torch_handler.vision_handler import VisionHandler


class Segmenter(VisionHandler):
    def preprocess(self, data: list[dict[str, bytearray]]) -> Tensor:
        self.images = [usual.open_image(bytes(row.get("data") or row["body"])) for row in data]
        return usual.torch.stack([usual.transform(image) for image in self.images])

    def postprocess(self, data: Tensor) -> list[bytes]:
        return [usual.png(logits, image) for logits, image in zip(data, self.images, strict=True)]
