"""Ask a model that is served, from a laptop or a notebook: pictures in, masks and classes out.

    from byoc_vision.client import draw, predict_classes, predict_mask

    mask = predict_mask("cars", "picture.jpg")                      # the name of an endpoint
    mask = predict_mask("http://localhost:8080", "picture.jpg")     # a server anywhere
    draw("picture.jpg", mask)

It takes NumPy and Pillow, and boto3 where an endpoint is asked; nothing that trains or serves is imported.
"""

from byoc_vision.client.answers import read_classes, read_mask, read_probabilities
from byoc_vision.client.drawing import classes_text, draw
from byoc_vision.client.errors import PredictionError
from byoc_vision.client.images import Picture
from byoc_vision.client.predict import predict_classes, predict_mask, predict_probabilities
from byoc_vision.client.sdk import ClassesDeserializer, MaskDeserializer, PictureSerializer

__all__ = [
    "ClassesDeserializer",
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
