"""Writes the example.py of an exported model: from an image file to a prediction, on one page."""

from __future__ import annotations

from byoc_vision.artifact import ModelConfig

FILE = "example.py"

_HEAD = '''"""Predict an image: python example.py {arguments}

Needs numpy, opencv-python-headless and {runtime}. preprocessing.json explains each step.
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


def resize(pixels, height, width):{mixed}
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR){axis}
'''

_PER_AXIS = """
    if (height - pixels.shape[0]) * (width - pixels.shape[1]) < 0:  # one side shrinks and the other grows
        smaller = min(width, pixels.shape[1]), min(height, pixels.shape[0])
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)"""

_RUN = {
    "onnx": (
        "onnxruntime",
        "import onnxruntime",
        """
model = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])


def run(images):
    return model.run(["logits"], {"pictures": images})[0]
""",
    ),
    "openvino": (
        "openvino",
        "import openvino",
        """
# In float32, as in the comparison with PyTorch; by default OpenVINO uses bfloat16 on some processors.
model = openvino.compile_model(str(FOLDER / "model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def run(images):
    return model(images)[0]
""",
    ),
    "torchscript": (
        "torch",
        "import torch",
        """
model = torch.jit.load(str(FOLDER / "model.pth"))


def run(images):
    with torch.inference_mode():
        return model(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()
""",
    ),
    "torch-export": (
        "torch",
        "import torch",
        """
model = torch.export.load(FOLDER / "model.pt2").module()


def run(images):
    with torch.inference_mode():
        return model(torch.from_numpy(images)).numpy()
""",
    ),
}

_FIT = {
    "stretch": """

def fit(image):
    return resize(image, HEIGHT, WIDTH)
""",
    "letterbox": """

def window(height, width):
    scale = min(HEIGHT / height, WIDTH / width)
    inner_height, inner_width = min(HEIGHT, max(1, round(height * scale))), min(WIDTH, max(1, round(width * scale)))
    top, left = (HEIGHT - inner_height) // 2, (WIDTH - inner_width) // 2
    return slice(top, top + inner_height), slice(left, left + inner_width)


def fit(image):
    canvas = np.zeros((HEIGHT, WIDTH, image.shape[2]), np.uint8)
    inner = canvas[window(*image.shape[:2])]
    inner[:] = resize(image, *inner.shape[:2])
    return canvas
""",
    "short_side": """

def fit(image):
    height, width = image.shape[:2]
    side = ABOUT["resize"]["short_side"]
    scale = min(height, width) / side if side else min(height / HEIGHT, width / WIDTH)
    inner_height, inner_width = min(height, max(1, round(HEIGHT * scale))), min(width, max(1, round(WIDTH * scale)))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return resize(image[top : top + inner_height, left : left + inner_width], HEIGHT, WIDTH)
""",
}

_PREDICT = """

image = cv2.imread(sys.argv[1], cv2.IMREAD_COLOR)
if image is None:
    sys.exit(f"{sys.argv[1]} is not an image that OpenCV can read")
image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
logits = run(fit(image)[None])[0]
"""

_PREDICT_BANDS = """

image = np.load(sys.argv[1])  # [H, W, bands], as they are stored
ranges = ABOUT["input"]["bands"]
image = image[..., None] if image.ndim == 2 else image
if image.ndim != 3 or image.shape[2] != len(ranges):
    sys.exit(f"{sys.argv[1]} has the shape {image.shape}, not [H, W, {len(ranges)}]")
low, high = (np.array([band[name] for band in ranges], np.float32) for name in ("low", "high"))
image = np.rint(np.clip((image - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
logits = run(fit(image)[None])[0]
"""

_SEGMENTATION = """height, width = image.shape[:2]
planes = np.stack([cv2.resize(np.ascontiguousarray({plane}), (width, height)) for plane in logits])
labels = {labels}
{small}cv2.imwrite(sys.argv[2], np.array([entry["value"] for entry in CLASSES], np.uint8)[labels])
"""

_SMALL_PARTS = """least = np.ceil(ABOUT["output"]["min_area"] * labels.size)
_, parts, stats, _ = cv2.connectedComponentsWithStats(labels.astype(np.uint8), connectivity=8)
labels = ((parts > 0) & (stats[:, cv2.CC_STAT_AREA] >= least)[parts]).astype(int)
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


def example_script(config: ModelConfig, format_name: str) -> str:
    """A script that writes an image's mask or prints its probabilities. It needs NumPy, OpenCV and a runtime."""
    runtime, imports, run = _RUN[format_name]
    segmentation = config.task == "segmentation"
    image, predict = ("image.npy", _PREDICT_BANDS) if config.preprocess.bands else ("image.jpg", _PREDICT)
    arguments = f"{image} mask.png" if segmentation else image
    mixed = _PER_AXIS if config.preprocess.per_axis else ""
    axis = ".reshape(height, width, -1)" if config.preprocess.channels == 1 else ""  # OpenCV drops that of one band
    head = _HEAD.format(arguments=arguments, runtime=runtime, imports=imports, mixed=mixed, axis=axis)
    return head + "\n" + run + _FIT[config.preprocess.resize] + predict + _last_lines(config)


def _last_lines(config: ModelConfig) -> str:
    if config.task == "classification":
        return _PROBABILITIES[config.activation] + _CLASSIFICATION
    plane = "plane[window(height, width)]" if config.preprocess.resize == "letterbox" else "plane"
    small = _SMALL_PARTS if config.min_area else ""
    return _SEGMENTATION.format(plane=plane, labels=_LABELS[config.activation], small=small)
