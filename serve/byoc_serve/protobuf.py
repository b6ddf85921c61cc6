"""Probabilities as SageMaker's built-in algorithms return them: Record messages of protobuf, framed by RecordIO.

Masks as from Semantic Segmentation: features `target`, the probabilities as float32, and `shape`, their shape
[1, K, H, W] as int32. Classes as from the built-in classifiers: labels `score`, the probabilities, and
`predicted_label`, the index of the highest.

Sources: record.proto and serializer_utils.py (read_recordio) of the SageMaker Python SDK; "Common Data Formats for
Inference" in the SageMaker developer guide; the protobuf encoding guide.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from byoc_vision.data.recordio import MAGIC

Tensor = np.ndarray | Sequence[int]  # float32, or small numbers that become int32

_BYTES = 2  # the wire type of all that has a length
_HEAD = struct.Struct("<II")
_FEATURES, _LABEL = 1, 2  # fields of Record
_KEY, _VALUE = 1, 2  # fields of an entry of a map
_FLOAT32, _INT32 = 2, 7  # fields of Value
_VALUES, _SHAPE = 1, 3  # fields of a tensor


def mask_record(probabilities: np.ndarray) -> bytes:
    """The framed record of a mask's probabilities, float32 [K, H, W]."""
    target = probabilities[None]
    return _frame(_entries(_FEATURES, {"target": target, "shape": target.shape}))


def class_record(probabilities: np.ndarray, exclusive: bool) -> bytes:
    """The framed record of an image's probabilities, float32 [K]. exclusive: whether it has one class alone."""
    labels: dict[str, Tensor] = {"score": probabilities}
    if exclusive:
        labels["predicted_label"] = probabilities.argmax(axis=0, keepdims=True).astype(np.float32)
    return _frame(_entries(_LABEL, labels))


def _frame(content: bytes) -> bytes:
    """As the SDK frames and reads records: whole, also where the magic number occurs in the content."""
    return _HEAD.pack(MAGIC, len(content)) + content + bytes(-len(content) % 4)


def _entries(number: int, tensors: Mapping[str, Tensor]) -> bytes:
    """A field of Record that is a map of names to tensors."""
    entries = (_field(_KEY, name.encode()) + _field(_VALUE, _value(tensor)) for name, tensor in tensors.items())
    return b"".join(_field(number, entry) for entry in entries)


def _value(tensor: Tensor) -> bytes:
    if isinstance(tensor, np.ndarray):
        values, kind, shape = tensor.astype("<f4", copy=False).tobytes(), _FLOAT32, tensor.shape
    else:
        values, kind, shape = _varints(tensor), _INT32, (len(tensor),)
    return _field(kind, _field(_VALUES, values) + _field(_SHAPE, _varints(shape)))


def _field(number: int, content: bytes) -> bytes:
    return b"".join((_varint(number << 3 | _BYTES), _varint(len(content)), content))


def _varints(numbers: Sequence[int]) -> bytes:
    return b"".join(_varint(number) for number in numbers)


def _varint(number: int) -> bytes:
    """Seven bits a byte, least significant first, the eighth set where more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
