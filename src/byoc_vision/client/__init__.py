"""Ask a served model from a laptop or a notebook: images in, masks and classes out.

    from byoc_vision.client import draw, predict_classes, predict_mask

    mask = predict_mask("cars", "image.jpg")                      # the name of an endpoint
    mask = predict_mask("http://localhost:8080", "image.jpg")     # the URL of a server
    draw("image.jpg", mask)

It needs NumPy and Pillow, and boto3 for endpoints; it imports nothing that trains or serves.
"""

from byoc_vision.client.drawing import classes_text, draw
from byoc_vision.client.images import ImageInput
from byoc_vision.client.predict import predict_classes, predict_mask, predict_probabilities
from byoc_vision.client.responses import PredictionError, read_classes, read_mask, read_probabilities
from byoc_vision.client.sdk import ClassesDeserializer, ImageSerializer, MaskDeserializer

# The older names of version 0.1.
Picture = ImageInput
PictureSerializer = ImageSerializer

__all__ = [
    "ClassesDeserializer",
    "ImageInput",
    "ImageSerializer",
    "MaskDeserializer",
    "Picture",
    "PictureSerializer",
    "PredictionError",
    "classes_text",
    "draw",
    "predict_classes",
    "predict_mask",
    "predict_probabilities",
    "read_classes",
    "read_mask",
    "read_probabilities",
]
