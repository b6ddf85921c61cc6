"""What the peers have in common: a model and the code around it as tutorials write it, with PIL, torchvision's
transforms and eager PyTorch.

The folder MODEL holds `model.json` and `weights.pt`. Each server puts its own few lines around these functions.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

FOLDER = Path(os.environ["MODEL"])
DESCRIPTION: dict[str, Any] = json.loads((FOLDER / "model.json").read_text())
CLASSES: list[str] = DESCRIPTION["classes"]
SEGMENTS: bool = DESCRIPTION["task"] == "segmentation"
_SIZE: int = DESCRIPTION["size"]
_NORMALIZE = [transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]

if SEGMENTS:
    transform = transforms.Compose([transforms.Resize((_SIZE, _SIZE)), *_NORMALIZE])
else:
    transform = transforms.Compose([transforms.Resize(_SIZE * 256 // 224), transforms.CenterCrop(_SIZE), *_NORMALIZE])


def build() -> nn.Module:
    """The network with random weights."""
    if SEGMENTS:
        import segmentation_models_pytorch as smp

        return smp.create_model(
            DESCRIPTION["architecture"], encoder_name=DESCRIPTION["encoder"], encoder_weights=None, classes=1
        )
    import timm

    return timm.create_model(DESCRIPTION["architecture"], num_classes=len(CLASSES))


def load() -> nn.Module:
    model = build()
    model.load_state_dict(torch.load(FOLDER / "weights.pt", weights_only=True))
    return model.eval()


def open_image(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body)).convert("RGB")


@torch.inference_mode()
def predict(model: nn.Module, images: list[Image.Image]) -> list[Any]:
    """The answers to images: class probabilities, or the bytes of a PNG."""
    logits = model(torch.stack([transform(image) for image in images]))
    return [answer(one, image) for one, image in zip(logits, images, strict=True)]


def answer(logits: Tensor, image: Image.Image) -> Any:
    if SEGMENTS:
        return png(logits, image)
    return dict(zip(CLASSES, logits.softmax(dim=0).tolist(), strict=True))


def png(logits: Tensor, image: Image.Image) -> bytes:
    """A mask of 0 and 255 in the image's size."""
    size = (image.height, image.width)
    probabilities = F.interpolate(logits[None].sigmoid(), size, mode="bilinear", align_corners=False)[0, 0]
    file = io.BytesIO()
    Image.fromarray((probabilities > 0.5).byte().mul(255).numpy()).save(file, "PNG")
    return file.getvalue()
