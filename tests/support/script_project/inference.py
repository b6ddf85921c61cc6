"""Its inference script: the same network, its saved state, an image as JPEG, class probabilities as JSON."""

import io
import json
import os

import torch
from PIL import Image
from torchvision import transforms
from train import net


def model_fn(model_dir):
    saved = torch.load(os.path.join(model_dir, "model.pth"), map_location="cpu", weights_only=False)
    model = net(len(saved["classes"]))
    model.load_state_dict(saved["state"])
    return model.eval(), saved["classes"]


def input_fn(request_body, content_type):
    if content_type != "image/jpeg":
        raise ValueError(f"Unsupported content type: {content_type}")
    image = Image.open(io.BytesIO(request_body)).convert("RGB")
    return transforms.Compose([transforms.Resize((48, 48)), transforms.ToTensor()])(image)[None]


def predict_fn(data, model):
    with torch.no_grad():
        return dict(zip(model[1], model[0](data).softmax(1)[0].tolist(), strict=True))


def output_fn(prediction, accept):
    assert accept == "application/json"
    return json.dumps(prediction)
