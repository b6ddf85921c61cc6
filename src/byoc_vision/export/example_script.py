"""The example.py that lies beside an exported model: all that a picture's way through it needs, on one page."""

from __future__ import annotations

from byoc_vision.artifact import ModelCard

FILE = "example.py"

_HEAD = '''"""Answer a picture: python example.py {arguments}

Needs numpy, opencv-python-headless and {runtime}. What each step does stands in preprocessing.json.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
{imports}

FOLDER = Path(__file__).resolve().parent
ABOUT = json.loads((FOLDER / "preprocessing.json").read_text(encoding="utf-8"))
HEIGHT, WIDTH = ABOUT["input"]["height"], ABOUT["input"]["width"]
CLASSES, THRESHOLD = ABOUT["output"]["classes"], ABOUT["output"]["threshold"]


def resize(pixels, height, width):
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
'''

_RUN = {
    "onnx": (
        "onnxruntime",
        "import onnxruntime",
        """
model = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])


def run(pictures):
    return model.run(["logits"], {"pictures": pictures})[0]
""",
    ),
    "openvino": (
        "openvino",
        "import openvino",
        """
model = openvino.compile_model(str(FOLDER / "model.xml"), "CPU")


def run(pictures):
    return model(pictures)[0]
""",
    ),
    "torchscript": (
        "torch",
        "import torch",
        """
model = torch.jit.load(str(FOLDER / "model.pth"))


def run(pictures):
    with torch.inference_mode():
        return model(torch.from_numpy(pictures).permute(0, 3, 1, 2).float()).numpy()
""",
    ),
    "torch-export": (
        "torch",
        "import torch",
        """
model = torch.export.load(FOLDER / "model.pt2").module()


def run(pictures):
    with torch.inference_mode():
        return model(torch.from_numpy(pictures)).numpy()
""",
    ),
}

_FIT = {
    "stretch": """

def fit(picture):
    return resize(picture, HEIGHT, WIDTH)
""",
    "letterbox": """

def window(height, width):
    scale = min(HEIGHT / height, WIDTH / width)
    inner_height, inner_width = min(HEIGHT, max(1, round(height * scale))), min(WIDTH, max(1, round(width * scale)))
    top, left = (HEIGHT - inner_height) // 2, (WIDTH - inner_width) // 2
    return slice(top, top + inner_height), slice(left, left + inner_width)


def fit(picture):
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    inner = canvas[window(*picture.shape[:2])]
    inner[:] = resize(picture, *inner.shape[:2])
    return canvas
""",
    "short_side": """

def fit(picture):
    height, width = picture.shape[:2]
    side = ABOUT["resize"]["short_side"]
    scale = min(height, width) / side if side else min(height / HEIGHT, width / WIDTH)
    inner_height, inner_width = min(height, max(1, round(HEIGHT * scale))), min(width, max(1, round(WIDTH * scale)))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return resize(picture[top : top + inner_height, left : left + inner_width], HEIGHT, WIDTH)
""",
}

_ANSWER = """

picture = cv2.imread(sys.argv[1], cv2.IMREAD_COLOR)
if picture is None:
    sys.exit(f"{sys.argv[1]} is no picture that OpenCV reads")
picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
logits = run(fit(picture)[None])[0]
"""

_SEGMENTATION = """height, width = picture.shape[:2]
planes = np.stack([cv2.resize(np.ascontiguousarray({plane}), (width, height)) for plane in logits])
labels = {labels}
cv2.imwrite(sys.argv[2], np.array([entry["value"] for entry in CLASSES], np.uint8)[labels])
"""

_LABELS = {
    "sigmoid": "(planes[0] > np.log(THRESHOLD / (1 - THRESHOLD))).astype(int)",
    "softmax": "planes.argmax(axis=0)",
}

_PROBABILITIES = {
    "sigmoid": "probabilities = np.exp(-np.logaddexp(0, -logits))  # sigmoid(logits)\n",
    "softmax": "exponentials = np.exp(logits - logits.max())\nprobabilities = exponentials / exponentials.sum()\n",
}

_CLASSIFICATION = """for index in np.argsort(-probabilities):
    print(f"{probabilities[index]:.6f} {CLASSES[index]['name']}")
"""


def example_script(card: ModelCard, format_name: str) -> str:
    """A script that writes a picture's mask, or prints its probabilities; it needs NumPy, OpenCV and a runtime."""
    runtime, imports, run = _RUN[format_name]
    segmentation = card.task == "segmentation"
    arguments = "picture.jpg mask.png" if segmentation else "picture.jpg"
    head = _HEAD.format(arguments=arguments, runtime=runtime, imports=imports)
    return head + "\n" + run + _FIT[card.preprocess.resize] + _ANSWER + _last_lines(card)


def _last_lines(card: ModelCard) -> str:
    if card.task == "classification":
        return _PROBABILITIES[card.activation] + _CLASSIFICATION
    plane = "plane[window(height, width)]" if card.preprocess.resize == "letterbox" else "plane"
    return _SEGMENTATION.format(plane=plane, labels=_LABELS[card.activation])
