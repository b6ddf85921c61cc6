"""What multi-model-server gets, and what its worker makes of a request; the container's tests run the real one."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.images import draw_noise, encode
from support.mutation import mutated
from support.servers import save_classifier

from byoc_serve.multi_model.mms import variables
from byoc_serve.multi_model.mms_service import Service
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError

IMAGE = {"Content-Type": "image/png"}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@dataclass
class Request:
    """mms.context.RequestProcessor, as far as a worker asks it."""

    headers: dict[str, str]

    def get_request_properties(self) -> dict[str, str]:
        return self.headers


@dataclass
class Context:
    """mms.context.Context, likewise; what the worker answers is noted."""

    system_properties: dict[str, Any]
    model_name: str = "x"
    request_processor: list[Request] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def set_response_status(self, code: int, phrase: str, idx: int = 0) -> None:
        self.status = code

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.set_response_header(idx, "content-type", value)

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        self.headers[key] = value


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("ML_ROOT", str(tmp_path))
    save_classifier(tmp_path / "models/x/model", "test_resnet")
    return Context({"model_dir": str(tmp_path / "models/x/model"), "gpu_id": None})


def ask(service: Service, context: Context, data: dict[str, bytes], headers: dict[str, str]) -> Any:
    context.request_processor = [Request(headers)]
    context.status, context.headers = 200, {}
    answers = service([data], context)
    assert answers is not None
    return json.loads(answers[0])


def test_a_worker_answers_as_our_server_does(context: Context, png: bytes) -> None:
    service = Service()
    assert service(None, context) is None
    answer = ask(service, context, {"body": png}, {**IMAGE, ATTRIBUTES.lower(): "trace=1"})
    assert {entry["label"] for entry in answer} == {"dress", "hat", "shoes"}
    assert context.status == 200
    assert context.headers == {"content-type": "application/json", ATTRIBUTES: "trace=1"}
    for data, headers, status in (
        ({"body": b"no image"}, IMAGE, 400),
        ({"body": b""}, IMAGE, 400),
        ({"body": png}, {**IMAGE, "accept": "image/png"}, 406),
        ({"image": png}, {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"body": png}, {**IMAGE, ATTRIBUTES: "ü"}, 400),
    ):
        assert ask(service, context, data, headers)["error"]
        assert context.status == status


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd images
def test_hostile_requests_are_refused_there_too(context: Context) -> None:
    service = Service()
    assert service(None, context) is None
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (60000000, 0, 5, 3), }\n"
    array = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header
    for body, content_type, status in (
        (b"[" * 1_000_000, "application/json", 413),
        (b'{"instances":[' + b"{}," * 1_500_000 + b"{}]}", "application/json", 413),
        (b"{}\n" * 1_500_000, "application/jsonlines", 413),
        (array, "application/x-npy", 400),
        (draw_cut_jpeg(), "image/jpeg", 400),
    ):
        assert ask(service, context, {"body": body}, {"content-type": content_type})["error"]
        assert context.status == status
    chance = random.Random(0)
    seeds = [encode(draw_noise(24, 40), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")]
    for _ in range(200):
        ask(service, context, {"body": mutated(seeds, chance)}, {"content-type": "application/x-image"})
        assert context.status in {200, 400, 413}


def draw_cut_jpeg() -> bytes:
    """A progressive JPEG without a tenth of its last scan."""
    data = encode(draw_noise(80, 112), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[: len(data) - 2 - (len(data) - last) // 10] + data[-2:]


def test_what_it_cannot_load_ends_it(context: Context) -> None:
    (Path(context.system_properties["model_dir"]) / "model.safetensors").write_bytes(b"")
    with pytest.raises(RequestError, match="damaged"):
        Service()(None, context)


def test_memory_is_not_left_to_its_defaults() -> None:
    settings = Settings(root=Path("/ml"), port=9000, max_payload_mb=20, request_timeout=30)
    given = {"PATH": "/bin", "OMP_NUM_THREADS": "7"}
    chosen = variables(settings, Path("/tmp/x"), given)
    assert chosen["SAGEMAKER_BIND_TO_PORT"] == "9000"
    assert chosen["SAGEMAKER_MULTI_MODEL"] == "true"
    assert int(chosen["SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS"]) > 120  # of loading, too
    assert chosen["MMS_MAX_REQUEST_SIZE"] == str(20 * 2**20)
    assert int(chosen["MMS_MAX_RESPONSE_SIZE"]) > 2**28
    assert "-XX:+UseContainerSupport" in chosen["SAGEMAKER_MODEL_SERVER_VMARGS"]
    assert "OMP_NUM_THREADS" not in chosen
    assert chosen["PATH"].endswith(":/bin")
