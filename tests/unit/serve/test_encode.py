"""Answers as bytes, in each form."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from support.images import decode, load_npy

from byoc_serve import encode as encode_step
from byoc_serve.encode import Encoder, Prediction, check_count
from byoc_serve.response_format import ResponseFormat
from byoc_vision.errors import RequestError
from byoc_vision.inference.palette import class_colour
from byoc_vision.inference.predictor import Classification, Segmentation
from byoc_vision.types import ClassInfo

CLASSES = (ClassInfo(name="sky", value=3), ClassInfo(name="road", value=250))
LABELS = np.array([[0, 1, 1], [0, 0, 1]], dtype=np.uint8)


def render(given: list[Prediction], form: ResponseFormat, several: bool, palette: bool = False) -> bytes:
    encoder = Encoder(form, palette)
    return encoder.join((encoder.encode(answer) for answer in given), several)


def segmentation(labels: np.ndarray = LABELS) -> Segmentation:
    return Segmentation(labels, CLASSES, lambda: np.stack([labels == 0, labels == 1]).astype(np.float32))


def classification(*probabilities: float) -> Classification:
    names = ("dress", "hat", 'a "quoted" ü')
    return Classification(np.array(probabilities, dtype=np.float32), names[: len(probabilities)])


def test_a_mask_holds_the_training_masks_values() -> None:
    body = render([segmentation()], ResponseFormat.PNG, several=False)
    np.testing.assert_array_equal(decode(body), [[3, 250, 250], [3, 3, 250]])


def test_a_mask_with_a_palette_holds_the_same_values() -> None:
    image = Image.open(io.BytesIO(render([segmentation()], ResponseFormat.PNG, several=False, palette=True)))
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), [[3, 250, 250], [3, 3, 250]])
    colours = np.asarray(image.convert("RGB"))
    assert (colours[0, 0] == 0).all()  # of two classes the first is the background
    assert tuple(colours[0, 1]) == class_colour(1)


def test_an_overlay_shows_the_image_and_where_a_class_is() -> None:
    rgb = np.full((2, 3, 3), 90, np.uint8)
    encoder = Encoder(ResponseFormat.OVERLAY)
    drawn = decode(encoder.join([encoder.encode(segmentation(), rgb)], several=False))
    np.testing.assert_array_equal((drawn != rgb).any(axis=2), LABELS == 1)


def test_an_error_among_predictions() -> None:
    error = RequestError(400, "record 2: it is not JSON")
    for form, text in (
        (ResponseFormat.JSON, '[{"error": "record 2: it is not JSON"}]'),
        (ResponseFormat.JSON_LINES, '{"error": "record 2: it is not JSON"}\n'),
    ):
        encoder = Encoder(form)
        assert encoder.join([encoder.encode_error(error)], several=True).decode() == text


@pytest.mark.parametrize("form", [ResponseFormat.PNG, ResponseFormat.OVERLAY])
@pytest.mark.parametrize("count", [0, 2])
def test_several_masks_are_not_a_png(count: int, form: ResponseFormat) -> None:
    with pytest.raises(RequestError) as raised:
        check_count(form, count)
    assert raised.value.status == 406
    check_count(form, 1)
    check_count(ResponseFormat.JSON, count)


def test_a_mask_as_json() -> None:
    answer = json.loads(render([segmentation()], ResponseFormat.JSON, several=False))
    # Down the columns: 0 0 | 1 0 | 1 1, so runs of [0, 2, 1, 1, 2] and [2, 1, 1, 2]; from the fourth on differences.
    assert answer == {
        "size": [2, 3],
        "classes": [
            {"label": "sky", "value": 3, "share": 0.5, "rle": "021O1"},
            {"label": "road", "value": 250, "share": 0.5, "rle": "2111"},
        ],
    }


def test_classes_come_best_first_with_their_names() -> None:
    answer = json.loads(render([classification(0.25, 0.7, 0.05)], ResponseFormat.JSON, several=False))
    assert answer == [
        {"label": "hat", "score": 0.7},
        {"label": "dress", "score": 0.25},
        {"label": 'a "quoted" ü', "score": 0.05},
    ]


def test_of_several_classes_it_is_said_which_are_present() -> None:
    several = Classification(np.array([0.3, 0.9, 0.31], dtype=np.float32), ("red", "round", "large"), threshold=0.305)
    assert json.loads(render([several], ResponseFormat.JSON, several=False)) == [
        {"label": "round", "score": 0.9, "present": True},
        {"label": "large", "score": 0.31, "present": True},
        {"label": "red", "score": 0.3, "present": False},
    ]
    assert json.loads(render([several], ResponseFormat.VECTOR, several=False)) == [0.3, 0.9, 0.31]
    assert json.loads(render([several], ResponseFormat.JSON_LINES, several=False)) == {"prediction": [0.3, 0.9, 0.31]}


def test_the_vector_is_in_class_order() -> None:
    assert json.loads(render([classification(0.25, 0.75)], ResponseFormat.VECTOR, several=False)) == [0.25, 0.75]


def test_a_list_is_a_list_however_long() -> None:
    one = classification(0.25, 0.75)
    assert json.loads(render([one], ResponseFormat.VECTOR, several=True)) == [[0.25, 0.75]]
    assert json.loads(render([one, one], ResponseFormat.VECTOR, several=True)) == [[0.25, 0.75]] * 2
    assert len(json.loads(render([segmentation(), segmentation()], ResponseFormat.JSON, several=True))) == 2


def test_json_lines() -> None:
    lines = render([classification(0.25, 0.75), classification(1, 0)], ResponseFormat.JSON_LINES, several=True).decode()
    assert lines == '{"prediction": [0.25, 0.75]}\n{"prediction": [1.0, 0.0]}\n'
    line = render([segmentation()], ResponseFormat.JSON_LINES, several=False)
    assert line == render([segmentation()], ResponseFormat.JSON, several=False) + b"\n"


def test_probabilities_as_an_array() -> None:
    one = classification(0.25, 0.75)
    vector = load_npy(render([one], ResponseFormat.NPY, several=False))
    assert vector.dtype == np.float32
    np.testing.assert_array_equal(vector, [0.25, 0.75])
    np.testing.assert_array_equal(load_npy(render([one, one], ResponseFormat.NPY, several=True)), [[0.25, 0.75]] * 2)
    planes = load_npy(render([segmentation()], ResponseFormat.NPY, several=False))
    np.testing.assert_array_equal(planes, [LABELS == 0, LABELS == 1])


def test_images_of_different_sizes_have_no_common_array() -> None:
    with pytest.raises(RequestError) as raised:
        render([segmentation(), segmentation(LABELS[:1])], ResponseFormat.NPY, several=True)
    assert raised.value.status == 406


def test_probabilities_do_not_grow_beyond_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_step, "MAX_BODY", 60)  # one image of LABELS' size has 48 bytes
    for form in (ResponseFormat.NPY, ResponseFormat.PROTOBUF, ResponseFormat.RECORDIO):
        encoder = Encoder(form)
        encoder.reserve(2, *LABELS.shape)
        with pytest.raises(RequestError) as raised:
            encoder.reserve(2, *LABELS.shape)
        assert raised.value.status == 413
    Encoder(ResponseFormat.JSON).reserve(1000, *LABELS.shape)


def test_nan_is_never_sent() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        render([classification(float("nan"), 0.5)], ResponseFormat.JSON, several=False)


@pytest.mark.parametrize("form", [ResponseFormat.JSON, ResponseFormat.JSON_LINES])
def test_texts_do_not_grow_without_end(form: ResponseFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_step, "MAX_BODY", 100)
    taken: list[str] = []

    def pieces() -> Iterator[str]:
        for _ in range(1000):
            taken.append("x" * 40)
            yield taken[-1]

    assert Encoder(form).join(["x" * 40, "y" * 40], several=True)
    with pytest.raises(RequestError, match="over 100 bytes") as refused:
        Encoder(form).join(pieces(), several=True)
    assert refused.value.status == 413
    assert len(taken) == 3
