"""What a request may ask of the server as a user starts it: large images, options in SageMaker's header, records."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from PIL import Image
from support.images import decode, encode, load_npy
from support.servers import READY_LIMIT, Server, save_segmenter, start

pytestmark = pytest.mark.timeout(300)

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
SIDE = 10_000  # pixels: 100 megapixels
PAUSE = 0.1  # seconds between others
DECODED = 3 * SIDE * SIDE / 2**20  # MB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("options")
    save_segmenter(folder / "model")
    with start(folder, folder / "log", {"RECORD_ERRORS": "line", "REQUEST_TIMEOUT": "200"}) as started:
        started.pings_until(200)
        yield started


@pytest.fixture(scope="module")
def scan() -> bytes:
    """A TIFF of 100 megapixels, mostly flat."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    image.paste((20, 90, 160), (2000, 3000, 2500, 9000))
    file = io.BytesIO()
    image.save(file, "TIFF", compression="tiff_adobe_deflate")
    return file.getvalue()


def ask(server: Server, body: bytes, query: str, content_type: str = "image/png") -> requests.Response:
    url, headers = f"{server.url}/invocations?{query}", {"Content-Type": content_type}
    return requests.post(url, data=body, headers=headers, timeout=READY_LIMIT * 2)


def peak_megabytes(pid: int) -> int:
    """The most memory that a process has had since it was last asked."""
    status = Path(f"/proc/{pid}/status").read_text()
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) // 1024


def test_a_hundred_megapixels_in_tiles_do_not_block_other_requests(server: Server, scan: bytes) -> None:
    worker = int(Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()[0])
    small = encode(np.zeros((50, 60, 3), np.uint8))
    peak_megabytes(worker)
    before = peak_megabytes(worker)
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(ask, server, scan, "tile=2048", "image/tiff")
        others = 0
        while not large.done():
            assert decode(ask(server, small, "").content).shape == (50, 60)
            others += 1
            time.sleep(PAUSE)
    response = large.result()
    assert response.status_code == 200, response.text
    mask = cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)  # Pillow warns of its size
    assert mask.shape == (SIDE, SIDE)
    assert others > 3
    assert peak_megabytes(worker) - before < 4 * DECODED  # Pillow's copy, ours, the mask twice, and the blending


def test_options_in_sagemakers_header(server: Server) -> None:
    content = encode(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    planes = load_npy(server.post(content, "image/png", Accept="application/x-npy").content)
    threshold = float(np.median(planes[1]))
    attributes = f"trace=a1; threshold={threshold:.6f}; palette=true"
    response = server.post(content, "image/png", **{ATTRIBUTES: attributes})
    assert response.headers[ATTRIBUTES] == attributes
    assert Image.open(io.BytesIO(response.content)).mode == "P"
    sure = np.abs(planes[1] - threshold) > 0.02  # in bfloat16 the order of sums shows
    np.testing.assert_array_equal((decode(response.content) == 255)[sure], (planes[1] > threshold)[sure])


def test_records_of_a_batch_transform(server: Server) -> None:
    image = base64.b64encode(encode(np.zeros((9, 12, 3), np.uint8))).decode()
    body = f'{{"image": "{image}"}}\nhello\n{{"b64": "{image}"}}\n'.encode()
    response = server.post(body, "application/jsonlines")
    assert response.headers["Content-Type"] == "application/jsonlines"
    first, second, third = (json.loads(line) for line in response.text.splitlines())
    assert first["size"] == third["size"] == [9, 12]
    assert second["error"].startswith("record 2: it is not JSON")


def test_unknown_options_are_reported(server: Server) -> None:
    content = encode(np.zeros((9, 12, 3), np.uint8))
    for query, words in (("treshold=0.3", "did you mean threshold?"), ("tile=9", "tile is auto or 32–4096")):
        response = ask(server, content, query)
        assert response.status_code == 400
        assert words in response.json()["error"]
