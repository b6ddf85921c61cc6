"""Records read back by Google's own protobuf, after the SageMaker SDK's schema."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from byoc_serve.protobuf import class_record, mask_record

FIELD = descriptor_pb2.FieldDescriptorProto
KINDS = {"float": FIELD.TYPE_FLOAT, "int32": FIELD.TYPE_INT32, "uint64": FIELD.TYPE_UINT64, "string": FIELD.TYPE_STRING}

# record.proto of the SageMaker SDK, without what it has for sparse tensors, other numbers and remarks:
# message → field → (number, type, repeated).
SCHEMA = {
    "Float32Tensor": {"values": (1, "float", True), "shape": (3, "uint64", True)},
    "Int32Tensor": {"values": (1, "int32", True), "shape": (3, "uint64", True)},
    "Value": {"float32_tensor": (2, "Float32Tensor", False), "int32_tensor": (7, "Int32Tensor", False)},
    "Entry": {"key": (1, "string", False), "value": (2, "Value", False)},
    "Record": {"features": (1, "Entry", True), "label": (2, "Entry", True)},
}


@pytest.fixture(scope="module")
def record_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="record.proto", package="aialgs.data", syntax="proto2")
    for name, members in SCHEMA.items():
        message = file.message_type.add(name=name)
        for member, (number, kind, repeated) in members.items():
            added = message.field.add(name=member, number=number)
            added.label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            added.type = KINDS.get(kind, FIELD.TYPE_MESSAGE)
            if kind not in KINDS:
                added.type_name = f".aialgs.data.{kind}"
            if repeated and kind in KINDS:
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("aialgs.data.Record"))


def read_recordio(content: bytes) -> Iterator[bytes]:
    """As the SDK reads it."""
    file = io.BytesIO(content)
    while head := file.read(8):
        magic, length = struct.unpack("<II", head)
        assert magic == 0xCED7230A
        yield file.read(length)
        padding = file.read(-length % 4)
        assert len(padding) == -length % 4


def parse(record_class: Any, content: bytes) -> Any:
    (payload,) = read_recordio(content)
    record = record_class()
    record.ParseFromString(payload)
    assert record.SerializeToString() == payload  # nothing in it that the schema does not know
    return record


@given(planes=arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=12)))
@settings(max_examples=30, deadline=None)
def test_a_mask_is_read_as_the_built_in_algorithms_answer_is(record_class: Any, planes: np.ndarray) -> None:
    features = {entry.key: entry.value for entry in parse(record_class, mask_record(planes)).features}
    assert set(features) == {"target", "shape"}
    shape = list(features["shape"].int32_tensor.values)
    assert shape == list(features["target"].float32_tensor.shape) == [1, *planes.shape]
    values = np.array(features["target"].float32_tensor.values, np.float32).reshape(shape)
    np.testing.assert_array_equal(values[0], planes)


def test_classes_are_read_as_a_built_in_classifiers_answer_is(record_class: Any) -> None:
    record = parse(record_class, class_record(np.array([0.25, 0.5, 0.25], np.float32), exclusive=True))
    labels = {entry.key: list(entry.value.float32_tensor.values) for entry in record.label}
    assert labels == {"score": [0.25, 0.5, 0.25], "predicted_label": [1.0]}


def test_of_several_classes_none_is_the_predicted_one(record_class: Any) -> None:
    record = parse(record_class, class_record(np.array([0.75, 0.5], np.float32), exclusive=False))
    assert [entry.key for entry in record.label] == ["score"]


def test_a_large_mask_that_is_a_view(record_class: Any) -> None:
    planes = np.arange(3 * 200 * 300, dtype=np.float32).reshape(300, 200, 3).T
    record = parse(record_class, mask_record(planes))
    target = next(entry.value.float32_tensor for entry in record.features if entry.key == "target")
    assert list(target.shape) == [1, 3, 200, 300]
    np.testing.assert_array_equal(np.array(target.values, np.float32).reshape(3, 200, 300), planes)
