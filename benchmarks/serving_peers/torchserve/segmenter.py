"""TorchServe has handlers for classifiers; this is one for masks, on its base class for pictures."""

from __future__ import annotations

import usual
from torch import Tensor
from ts.torch_handler.vision_handler import VisionHandler


class Segmenter(VisionHandler):
    def preprocess(self, data: list[dict[str, bytearray]]) -> Tensor:
        self.pictures = [usual.open_picture(bytes(row.get("data") or row["body"])) for row in data]
        return usual.torch.stack([usual.transform(picture) for picture in self.pictures])

    def postprocess(self, data: Tensor) -> list[bytes]:
        return [usual.png(logits, picture) for logits, picture in zip(data, self.pictures, strict=True)]
