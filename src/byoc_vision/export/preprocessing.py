"""Writes preprocessing.json: the input that an exported model needs, and the meaning of its output."""

from __future__ import annotations

from typing import Any

import torch

from byoc_vision import __version__
from byoc_vision.artifact import ModelConfig
from byoc_vision.export.comparison import Comparison
from byoc_vision.export.formats import INPUT, OUTPUT
from byoc_vision.preprocess import Preprocess

FILE = "preprocessing.json"

_RESIZE_RULES = {
    "stretch": "resize the whole image to width × height; its proportions are lost",
    "letterbox": (
        "scale = min(height / H, width / W); resize the whole image to round(W × scale) × round(H × scale), "
        "paste it in the centre of a black image of width × height (odd remainders go to the bottom and the right)"
    ),
    "short_side": (
        "scale = min(H / height, W / width), or min(H, W) / short_side if that is given; crop the central "
        "round(width × scale) × round(height × scale), resize it to width × height"
    ),
}
_INTERPOLATION = {"shrinking": "area averaging (cv2.INTER_AREA)", "growing": "bilinear (cv2.INTER_LINEAR)"}
_MIXED = {
    True: "if one side shrinks and the other grows: first the one that shrinks, then the other, each as above",
    False: "cv2.INTER_AREA, which is bilinear if one side shrinks and the other grows",
}


def describe(
    config: ModelConfig, format_name: str, file: str, facts: dict[str, Any], seen: Comparison
) -> dict[str, Any]:
    """The content of preprocessing.json: all that is needed to serve `file` without this package.

    facts: the format's own entries.
    """
    return {
        "format": format_name,
        "file": file,
        **facts,
        "model": config.model.model_dump(include={"task", "architecture", "encoder"}),
        "input": _input(config.preprocess, format_name),
        "resize": _resize(config.preprocess),
        "output": _output(config),
        "comparison": {
            "largest_difference_of_logits": seen.largest,
            "standard_deviation_of_logits": seen.spread,
            "share": seen.share,
        },
        "made_with": {"byoc_vision": __version__, "torch": torch.__version__},
    }


def _input(preprocess: Preprocess, format_name: str) -> dict[str, Any]:
    height, width, channels = preprocess.height, preprocess.width, preprocess.channels
    of_floats = format_name == "torchscript"
    return {
        "name": INPUT,
        "dtype": "float32" if of_floats else "uint8",
        "layout": "NCHW" if of_floats else "NHWC",
        "shape": ["N", channels, height, width] if of_floats else ["N", height, width, channels],
        "height": height,
        "width": width,
        "channels": "bands, each stretched as below" if preprocess.bands else "RGB",
        **_bands(preprocess),
        "range": [0, 255],
        "normalisation": f"inside the model: (x / 255 - mean) / std, mean {preprocess.mean}, std {preprocess.std}",
        "orientation": "upright: EXIF orientation applied",
    }


def _bands(preprocess: Preprocess) -> dict[str, Any]:
    if not preprocess.bands:
        return {}
    ranges = [{"low": band.low, "high": band.high} for band in preprocess.bands]
    return {"bands": ranges, "stretch": "round((value - low) × 255 / (high - low)), clipped to 0–255, before resizing"}


def _resize(preprocess: Preprocess) -> dict[str, Any]:
    return {
        "rule": preprocess.resize,
        "short_side": preprocess.short_side,
        "meaning": f"for an image of height H and width W: {_RESIZE_RULES[preprocess.resize]}",
        "interpolation": {**_INTERPOLATION, "mixed": _MIXED[preprocess.per_axis]},
    }


def _output(config: ModelConfig) -> dict[str, Any]:
    segmentation = config.task == "segmentation"
    count, sides = config.model.outputs, [config.preprocess.height, config.preprocess.width]
    classes: list[dict[str, Any]] = [{"name": entry.name} for entry in config.classes]
    if segmentation:
        for index, entry in enumerate(config.classes):
            classes[index]["value"] = index if entry.value is None else entry.value
    return {
        "name": OUTPUT,
        "dtype": "float32",
        "shape": ["N", count, *sides] if segmentation else ["N", count],
        "activation": config.activation,
        "threshold": config.threshold if config.activation == "sigmoid" else None,
        **({"min_area": config.min_area} if config.min_area else {}),
        "meaning": _meaning(config),
        "classes": classes,
    }


def _meaning(config: ModelConfig) -> str:
    if config.task == "segmentation":
        back = (
            "crop the black border (letterbox), resize the logits bilinearly to the image's own size; "
            "a pixel's class is then "
        )
        if config.activation == "sigmoid":
            small = f"; parts of the second one below {config.min_area:g} of the image become the first"
            return (
                back
                + "the second one if sigmoid(logit) > threshold, else the first; `value` is its mask value"
                + small * bool(config.min_area)
            )
        return back + "the one with the highest logit; `value` is its mask value"
    if config.activation == "sigmoid":
        return "sigmoid(logit) is the probability of a class; the image has it above threshold; in class order"
    return "softmax(logits) are the probabilities, in class order"
