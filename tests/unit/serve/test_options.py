"""What a request may ask for, asked in-process of the app around real small models."""

from __future__ import annotations

import base64
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import BoundedSemaphore, Thread

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient
from PIL import Image
from support.images import decode, encode, load_npy
from torch import Tensor, nn
from werkzeug.test import TestResponse

from byoc_serve.batch import Batcher
from byoc_serve.decode import Undecoded
from byoc_serve.encode import Encoder
from byoc_serve.pipeline import Pipeline
from byoc_serve.protobuf import class_record, mask_record
from byoc_serve.request import RequestContext
from byoc_serve.request_options import RequestOptions
from byoc_serve.response import CUSTOM_ATTRIBUTES
from byoc_serve.response_format import ResponseFormat
from byoc_serve.settings import Settings
from byoc_vision.artifact import ModelConfig
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.precision import Precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec, Task

SOON = 60.0

Serve = Callable[[Predictor, Settings], FlaskClient]


class Red(nn.Module):
    """How red each pixel is: a logit of 4 where it is, of -4 where it is not."""

    def forward(self, x: Tensor) -> Tensor:
        return 8 * x[:, :1] - 4


class MeanRed(nn.Module):
    """How much of the image is red, and how much of its left half."""

    def forward(self, x: Tensor) -> Tensor:
        return 8 * torch.stack([x[:, 0].mean(dim=(1, 2)), x[:, 0, :, :12].mean(dim=(1, 2))], dim=1) - 4


def sigmoid_predictor(task: Task, net: nn.Module, outputs: int) -> Predictor:
    config = ModelConfig(
        model=ModelSpec(task=task, architecture="test", outputs=outputs),
        classes=(ClassInfo(name="background", value=0), ClassInfo(name="car", value=255)),
        activation="sigmoid",
        preprocess=Preprocess(height=16, width=24, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    )
    return Predictor(config, TorchEngine(net.eval(), config, torch.device("cpu"), Precision(torch.float32, "cpu")))


@pytest.fixture
def cars(serve: Serve) -> FlaskClient:
    """A model whose one logit decides between two classes."""
    return serve(sigmoid_predictor("segmentation", Red(), 1), Settings())


@pytest.fixture
def dark(image: np.ndarray) -> bytes:
    """Stripes of a third of their brightness, so that red ones have a logit of -1.3, a probability of 0.21."""
    return encode(image // 3)


def ask(
    client: FlaskClient,
    body: bytes,
    query: str = "",
    content_type: str = "image/png",
    accept: str = "*/*",
    attributes: str = "",
) -> TestResponse:
    headers = {"Accept": accept, CUSTOM_ATTRIBUTES: attributes}
    return client.post(f"/invocations?{query}", data=body, content_type=content_type, headers=headers)


def error_of(response: TestResponse, status: int = 400) -> str:
    assert response.status_code == status
    return str(response.get_json()["error"])


def lines(*records: object) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def record(content: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(content).decode()}


class TestThreshold:
    def test_of_a_mask(self, cars: FlaskClient, dark: bytes) -> None:
        assert set(np.unique(decode(ask(cars, dark).data))) == {0}
        for query, attributes in (("threshold=0.1", ""), ("", "trace=7;threshold=0.1"), ("", "threshold=0.1,x")):
            response = ask(cars, dark, query, attributes=attributes)
            assert response.headers[CUSTOM_ATTRIBUTES] == attributes
            np.testing.assert_array_equal(decode(response.data)[0], [255] * 16 + [0] * 32)

    def test_of_several_classes(self, serve: Serve, dark: bytes) -> None:
        client = serve(sigmoid_predictor("classification", MeanRed(), 2), Settings())
        for query, present in (
            ("", [False, False]),
            ("threshold=0.03", [True, True]),
            ("threshold=0.05", [True, False]),
        ):
            answer = ask(client, dark, query, accept="application/json").get_json()
            assert [entry["present"] for entry in answer] == present

    def test_not_where_the_most_probable_class_is_answered(self, masks: FlaskClient, png: bytes) -> None:
        assert "has no threshold" in error_of(ask(masks, png, "threshold=0.3"))


class TestMasks:
    def test_a_palette(self, masks: FlaskClient, png: bytes) -> None:
        image = Image.open(BytesIO(ask(masks, png, "palette=true").data))
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), decode(ask(masks, png).data))
        colours = np.asarray(image.convert("RGB"))[16, [8, 24, 40]]
        assert (colours[0] == 0).all()  # the background
        assert len({tuple(colour) for colour in colours}) == 3

    @pytest.mark.parametrize(("query", "accept"), [("view=overlay", "*/*"), ("", "image/png; view=overlay")])
    def test_an_overlay(self, masks: FlaskClient, image: np.ndarray, png: bytes, query: str, accept: str) -> None:
        response = ask(masks, png, query, accept=accept)
        assert response.content_type == "image/png"
        drawn = decode(response.data)
        mask = decode(ask(masks, png).data)
        np.testing.assert_array_equal((drawn != image).any(axis=2), mask != 0)

    @pytest.mark.parametrize("options", ["view=overlay", "view=overlay&errors=line"])
    def test_an_overlay_takes_more_memory_than_a_mask_and_is_limited_by_the_declared_size(
        self, masks: FlaskClient, options: str
    ) -> None:
        small, large = (b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0) for side in (1, 8600))
        small, large = (header + struct.pack(">I", zlib.crc32(header)) for header in (small, large))
        monster = encode(np.zeros((1, 1, 3), np.uint8)).replace(small, large)
        refused = ask(masks, monster, options)
        assert "8600 × 8600 pixels, more than the 71,582,788 allowed" in error_of(refused, 413)
        assert "Accept: image/png" in error_of(refused, 413)
        assert ask(masks, monster).status_code == 400  # a mask of this size may be asked for, but the image is damaged

    def test_tiles_see_what_a_resized_image_does_not(self, masks: FlaskClient) -> None:
        fine = np.zeros((70, 110, 3), np.uint8)
        fine[..., 0], fine[::2, ::2] = 200, (0, 255, 0)
        expected = np.where(fine[..., 1] == 255, 7, 0)
        np.testing.assert_array_equal(decode(ask(masks, encode(fine), "tile=auto").data), expected)
        assert (decode(ask(masks, encode(fine)).data) == 7).mean() < 0.2
        text = ask(masks, encode(fine), "tile=auto", accept="application/json").get_json()
        assert text["classes"][1]["share"] == pytest.approx(0.25)
        planes = load_npy(ask(masks, encode(fine), "tile=auto&tta=flips", accept="application/x-npy").data)
        np.testing.assert_array_equal(np.array([0, 7, 200])[planes.argmax(axis=0)], expected)

    def test_several_images_in_tiles(self, masks: FlaskClient, png: bytes) -> None:
        body = json.dumps({"instances": [record(png), record(png)]}).encode()
        answers = ask(masks, body, "tile=32", "application/json", "application/json").get_json()
        assert answers[0] == answers[1]
        assert [entry["share"] for entry in answers[0]["classes"]] == pytest.approx([1 / 3] * 3, abs=1e-5)

    @pytest.mark.parametrize("media_type", ["application/x-protobuf", "application/x-recordio-protobuf"])
    def test_protobuf(self, masks: FlaskClient, png: bytes, media_type: str) -> None:
        response = ask(masks, png, accept=media_type)
        assert response.content_type == media_type
        planes = load_npy(ask(masks, png, accept="application/x-npy").data)
        assert response.data == mask_record(planes)


class TestClasses:
    def test_mirrored(self, serve: Serve, image: np.ndarray) -> None:
        client = serve(sigmoid_predictor("classification", MeanRed(), 2), Settings())
        plain, mirrored, both = (
            ask(client, encode(rgb), query, accept="application/json; view=vector").get_json()
            for rgb, query in ((image, ""), (image[:, ::-1], ""), (image, "tta=flip"))
        )
        assert plain[1] > 0.5 > mirrored[1]
        np.testing.assert_allclose(both, np.mean([plain, mirrored], axis=0), atol=1e-5)

    def test_protobuf_has_a_record_for_each_image(self, labels: FlaskClient, png: bytes) -> None:
        vector = load_npy(ask(labels, png, accept="application/x-npy").data)
        body = json.dumps({"instances": [record(png), record(png)]}).encode()
        response = ask(labels, body, content_type="application/json", accept="application/x-protobuf")
        assert response.data == 2 * class_record(vector, exclusive=True)

    @pytest.mark.parametrize("query", ["tile=auto", "tile=64", "palette=true"])
    def test_have_no_masks(self, labels: FlaskClient, png: bytes, query: str) -> None:
        assert "leave it out" in error_of(ask(labels, png, query))

    def test_have_another_view(self, labels: FlaskClient, png: bytes) -> None:
        assert "its view is vector" in error_of(ask(labels, png, "view=overlay"))
        assert len(ask(labels, png, "view=vector").get_json()) == 3
        assert ask(labels, png, "view=vector", accept="application/x-npy").status_code == 406


class TestRecords:
    def test_a_line_for_each_line(self, labels: FlaskClient, png: bytes) -> None:
        body = lines(record(png), {"b64": record(png)["image"]}) + b"\n"
        response = ask(labels, body, content_type="application/jsonlines")
        assert response.content_type == "application/jsonlines"
        first, second = (json.loads(line) for line in response.text.splitlines())
        assert first == second == json.loads(ask(labels, png, accept="application/jsonlines").data)

    def test_more_of_them_than_the_queue_takes(self, serve: Serve, classifier: Predictor, png: bytes) -> None:
        client = serve(classifier, Settings(queue_length=4, batch_size=2))
        response = ask(client, lines(*[record(png)] * 30), content_type="application/jsonlines")
        assert len(response.text.splitlines()) == 30

    def test_a_bad_one_fails_all_and_is_named(self, labels: FlaskClient, png: bytes) -> None:
        for bad in (b"{", b'{"image": "?"}', lines(record(png[:40]))):
            body = lines(record(png)) + bad
            assert error_of(ask(labels, body, content_type="application/jsonlines")).startswith("record 2: ")
        assert "no lines" in error_of(ask(labels, b"\n \n", content_type="application/jsonlines"))

    def test_or_has_its_error_in_its_place(self, serve: Serve, classifier: Predictor, png: bytes) -> None:
        body = b"{\n" + lines(record(png), record(png[:40]), record(png))
        tolerant = serve(classifier, Settings(record_errors="line"))
        strict = serve(classifier, Settings())
        for response in (
            ask(tolerant, body, content_type="application/jsonlines"),
            ask(strict, body, "errors=line", content_type="application/jsonlines"),
        ):
            answers = [json.loads(line) for line in response.text.splitlines()]
            assert [set(answer) for answer in answers] == [{"error"}, {"prediction"}, {"error"}, {"prediction"}]
            assert answers[0]["error"].startswith("record 1: it is not JSON")
            assert answers[2]["error"].startswith("record 3: the image is cut short")
        assert "record 1" in error_of(ask(tolerant, body, "errors=fail", content_type="application/jsonlines"))

    def test_an_error_among_instances(self, labels: FlaskClient, png: bytes) -> None:
        body = json.dumps({"instances": [record(png), record(b"x"), {"image": "?"}]}).encode()
        answers = ask(labels, body, "errors=line", "application/json").get_json()
        assert [isinstance(answer, dict) and set(answer) == {"error"} for answer in answers] == [False, True, True]

    def test_where_text_cannot_say_it_all_fail(self, labels: FlaskClient, png: bytes) -> None:
        body = lines(record(png), record(b"x"))
        response = ask(labels, body, "errors=line", "application/jsonlines", "application/x-npy")
        assert "record 2: the image is not a JPEG" in error_of(response)


@pytest.fixture
def batcher() -> Iterator[Batcher[Prepared, Logits]]:
    made: Batcher[Prepared, Logits] = Batcher(batch_size=2, capacity=16)
    yield made
    made.stop()


def test_an_image_of_many_tiles_leaves_room_for_other_requests(
    segmenter: Predictor, batcher: Batcher[Prepared, Logits]
) -> None:
    seen = []

    def compute(batch: list[Prepared]) -> list[Logits]:
        seen.append((len(batch), batcher.in_flight))
        return list(segmenter.forward(np.stack([item.pixels for item in batch])))

    model = Thread(target=batcher.run, args=(compute,))
    model.start()
    pipeline = Pipeline(segmenter, batcher, BoundedSemaphore(2))
    rgb = np.zeros((300, 300, 3), np.uint8)
    request = RequestContext(BytesIO())
    request.options, request.response_format = RequestOptions(tile="auto"), ResponseFormat.PNG
    request.deadline = time.monotonic() + SOON

    def mask() -> np.ndarray:
        (piece,) = pipeline.run([Undecoded(rgb, 300, 300, 0)], request, Encoder(ResponseFormat.PNG), tolerant=False)
        assert isinstance(piece, bytes)
        return decode(piece)

    with ThreadPoolExecutor(3) as pool:
        masks = [pool.submit(mask) for _ in range(3)]
        assert all(result.result(SOON).shape == (300, 300) for result in masks)
    batcher.stop()
    model.join(SOON)
    assert sum(count for count, _ in seen) == 3 * 25 * 17
    assert max(in_flight for _, in_flight in seen) <= 3 * 4
    assert sum(count == 2 for count, _ in seen) > len(seen) / 2  # and they are computed together
