"""The functions of a user's script: every signature, their defaults, and what becomes of what they raise and return."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient
from support.images import draw_noise, encode, load_npy, npy
from support.scripts import loading, serving_script, write_script
from support.waiting import wait_until
from werkzeug.test import TestResponse

from byoc_serve.scripts import service
from byoc_serve.settings import Settings
from byoc_vision.system.machine import available_cores

# What people have saved is still loaded.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")

Serve = Callable[..., FlaskClient]

COUNTER = "def model_fn(model_dir):\n    return {'factor': 2}\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """serve(code, **settings): a client of the app around a script."""
    with ExitStack() as stack:
        yield lambda code, **settings: stack.enter_context(serving_script(write_script(tmp_path, code), **settings))


@pytest.fixture
def failure(tmp_path: Path) -> Callable[[str], str]:
    """Why a script cannot be served."""

    def load(code: str) -> str:
        with loading(write_script(tmp_path, code), Settings(root=tmp_path)) as loader:
            assert loader.failure is not None
            return loader.failure

    return load


def post(
    client: FlaskClient, body: bytes = b"4", content_type: str | None = "text/plain", **headers: str
) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/invocations", data=body, content_type=content_type, headers=named)


class TestSignatures:
    def test_the_four_functions(self, serve: Serve) -> None:
        client = serve("""
            import os
            def model_fn(model_dir):
                return os.listdir(model_dir)
            def input_fn(request_body, content_type):
                return request_body, content_type
            def predict_fn(data, model):
                return f"{model} {data}"
            def output_fn(prediction, accept):
                return f"{prediction} {accept}".encode(), "text/x-mine"
        """)
        response = post(client, Accept="text/plain")
        assert response.text == "['code'] (b'4', 'text/plain') text/plain"
        assert response.content_type == "text/x-mine"

    def test_the_four_functions_with_context(self, serve: Serve) -> None:
        client = serve("""
            def model_fn(model_dir, context):
                return context.system_properties["model_dir"] == model_dir
            def input_fn(request_body, content_type, context):
                return context.get_request_header(0, "x-mine")
            def predict_fn(data, model, context=None):
                context.set_response_header(0, "X-Theirs", data)
                return str(model)
            def output_fn(prediction, accept, context):
                context.set_response_status(code=202)
                context.set_response_content_type(0, "text/plain")
                return prediction
        """)
        response = post(client, X_Mine="7")
        assert (response.status_code, response.text, response.headers["X-Theirs"]) == (202, "True", "7")
        assert response.content_type == "text/plain"

    @pytest.mark.parametrize("context", ["", ", context"])
    def test_transform_fn(self, serve: Serve, context: str) -> None:
        client = serve(f"{COUNTER}\ndef transform_fn(model, data, content_type, accept{context}):\n"
                       "    return str(int(data) * model['factor']), accept")  # fmt: skip
        response = post(client, Accept="text/csv")
        assert (response.text, response.content_type) == ("8", "text/csv")

    def test_async_functions_share_a_loop(self, serve: Serve) -> None:
        client = serve("""
            import asyncio
            async def model_fn(model_dir):
                return asyncio.get_running_loop()
            async def transform_fn(model, data, content_type, accept):
                await asyncio.sleep(0)
                return str(asyncio.get_running_loop() is model)
        """)
        assert post(client).text == "True"

    def test_modules_beside_the_script(self, serve: Serve, tmp_path: Path) -> None:
        write_script(tmp_path, "VALUE = 'from beside'", "model/code/beside_it.py")
        client = serve("import beside_it\ndef model_fn(d): return 0\ndef transform_fn(*given): return beside_it.VALUE")
        assert post(client).text == "from beside"


class TestDefaults:
    @pytest.mark.parametrize("accept", [None, "*/*", ""])
    def test_accept_is_json_unless_the_environment_says_otherwise(self, serve: Serve, accept: str | None) -> None:
        code = COUNTER + "def transform_fn(model, data, content_type, accept): return accept"
        headers = {} if accept is None else {"Accept": accept}
        assert post(serve(code), **headers).content_type == "application/json"
        assert post(serve(code, default_accept="text/csv"), **headers).content_type == "text/csv"

    def test_an_image_becomes_an_array(self, serve: Serve) -> None:
        client = serve(COUNTER + "def predict_fn(data, model): return f'{data.dtype} {data.shape} {data.sum()}'\n"
                       "def output_fn(prediction, accept): return prediction")  # fmt: skip
        image = draw_noise(20, 30)
        assert post(client, encode(image), "image/png").text == f"uint8 (20, 30, 3) {image.sum()}"

    @pytest.mark.parametrize(
        ("body", "status"), [(b"\xff\xd8\xff nonsense", 400), (encode(draw_noise(1001, 1000)), 413)]
    )
    def test_an_image_that_is_not_decoded(self, serve: Serve, body: bytes, status: int) -> None:
        client = serve(COUNTER + "def predict_fn(data, model): return 0", max_megapixels=1)
        assert post(client, body, "image/png").status_code == status

    def test_a_torchscript_model_computes_arrays(self, serve: Serve, tmp_path: Path) -> None:
        model = write_script(tmp_path, "")
        torch.jit.script(torch.nn.Linear(3, 2, bias=False).requires_grad_(False)).save(str(model / "model.pt"))
        weight = next(torch.jit.load(str(model / "model.pt")).parameters()).numpy()
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        response = post(serve(""), npy(array), "application/x-npy", Accept="application/x-npy")
        assert response.content_type == "application/x-npy"
        np.testing.assert_allclose(load_npy(response.data), array @ weight.T, rtol=1e-5)

    def test_no_python_objects_are_read(self, serve: Serve, tmp_path: Path) -> None:
        """The toolkit's own decoder would execute what they say."""

        class Hostile:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (tmp_path / "executed",)

        file = io.BytesIO()
        np.save(file, np.array([Hostile()], dtype=object), allow_pickle=True)
        client = serve(COUNTER + "def predict_fn(data, model): return 0")
        for body in (file.getvalue(), pickle.dumps(Hostile())):
            assert post(client, body, "application/x-npy").status_code == 400
        assert not (tmp_path / "executed").exists()

    def test_what_only_the_toolkit_reads(self, serve: Serve) -> None:
        """The image has it; see tests/container/test_scripts.py. Here an error names it."""
        client = serve(COUNTER + "def predict_fn(data, model): return data")
        assert post(client, b"[1]", "application/json").status_code == 500

    def test_other_types_are_refused(self, serve: Serve) -> None:
        client = serve(COUNTER + "def predict_fn(data, model): return data")
        response = post(client, b"x", "application/x-own")
        assert response.status_code == 415
        assert "write input_fn" in response.get_json()["error"]
        response = post(client, encode(draw_noise(4, 4)), "image/png", Accept="audio/ogg")
        assert response.status_code == 406
        assert "write output_fn" in response.get_json()["error"]


RAISING = (
    COUNTER
    + """
class UnsupportedFormatError(Exception): pass
class BaseInferenceToolkitError(Exception):
    def __init__(self, status_code, message): self.status_code, self.message = status_code, message
import io
import numpy as np
from byoc_vision.serving import RequestError, decode_image
def input_fn(body, content_type):
    if content_type == "a/value": raise ValueError("not mine")
    if content_type == "a/image": return decode_image(body)
    if content_type == "a/type": raise UnsupportedFormatError(content_type)
    if content_type == "a/status": raise BaseInferenceToolkitError(422, "too odd")
    if content_type == "a/request": raise RequestError(409, "another time")
    if content_type == "a/npy": return np.load(io.BytesIO(body), allow_pickle=True)
    if content_type == "a/exit": raise SystemExit(3)
    return content_type
def predict_fn(data, model):
    if data == "a/prediction": raise ValueError("a fault of the script")
    if data == "a/memory": raise MemoryError
    return data
def output_fn(prediction, accept):
    if accept == "an/accept": raise UnsupportedFormatError(accept)
    return None if prediction == "a/nothing" else prediction
"""
)


class TestErrors:
    @pytest.mark.parametrize(
        ("content_type", "status", "words"),
        [
            ("a/value", 400, "ValueError: not mine"),
            ("a/npy", 400, "UnpicklingError"),
            ("a/image", 400, "is not a JPEG"),
            ("a/type", 415, "a/type"),
            ("a/status", 422, "too odd"),
            ("a/request", 409, "another time"),
            ("a/prediction", 500, "its log says why"),
            ("a/nothing", 500, "its log says why"),
            ("a/exit", 500, "its log says why"),
            ("a/memory", 507, "memory"),
        ],
    )
    def test_what_the_script_refuses_and_what_it_breaks(
        self, serve: Serve, content_type: str, status: int, words: str
    ) -> None:
        client = serve(RAISING)
        response = post(client, b"x", content_type)
        assert response.status_code == status, response.text
        assert words in response.get_json()["error"]
        assert ("id" in response.get_json()) == (status == 500)
        assert post(client, b"x", "a/good").text == "a/good", "the script goes on"

    @pytest.mark.parametrize("step", ["input_fn", "predict_fn"])
    def test_a_gpu_that_is_lost_ends_the_process(self, serve: Serve, step: str) -> None:
        """Every later call would fail."""
        client = serve(COUNTER + "BATCHING = True\ndef input_fn(body, content_type): return body\n"
                       "def predict_fn(data, model): return data\n"
                       f"def {step}(*given): raise RuntimeError('CUDA error: an assert')")  # fmt: skip
        response = post(client)
        assert (response.status_code, "the server ends" in response.get_json()["error"]) == (503, True)
        loader = client.application.extensions["loader"]
        wait_until(lambda: loader.failure)
        assert "the GPU failed: CUDA error" in loader.failure

    @pytest.mark.parametrize(
        ("result", "text"),
        [("{'a': 1}", '{"a": 1}'), ("[1]", "[1]"), ("(1, 2)", "[1, 2]"), ("0.5", "0.5"), ("('x', 'text/x')", "x")],
    )
    def test_what_it_may_return(self, serve: Serve, result: str, text: str) -> None:
        client = serve(COUNTER + f"def transform_fn(*given): return {result}")
        assert post(client).text == text

    def test_an_accept_that_the_script_refuses(self, serve: Serve) -> None:
        assert post(serve(RAISING), Accept="an/accept").status_code == 406

    def test_text_that_is_not_utf_8(self, serve: Serve) -> None:
        client = serve(COUNTER + "def transform_fn(model, data, content_type, accept): return data")
        assert post(client, "{é}".encode(), "application/json").text == "{é}"
        assert post(serve(RAISING), b"\xff", "application/json").status_code == 400

    def test_a_slow_script_gets_504_and_the_queue_503(
        self, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "HUNG_AFTER", 100)  # a call that hangs ends the process, here that of the tests
        gate = tmp_path / "gate"
        client = serve(
            COUNTER + "import os, time\n"
            f"def transform_fn(model, data, content_type, accept):\n"
            f"    while os.path.exists({str(gate)!r}): time.sleep(0.01)\n    return data",
            request_timeout=1,
            queue_length=1,
        )
        gate.touch()
        with ThreadPoolExecutor(2) as pool:
            statuses = sorted(answer.status_code for answer in pool.map(lambda _: post(client), range(2)))
        gate.unlink()
        assert statuses == [503, 504]
        wait_until(lambda: post(client, b"after").text == "after")


class TestLoading:
    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("import no_such_module", r"ModuleNotFoundError: .*no_such_module.*inference\.py, line 1\)"),
            ("\ndef model_fn(model_dir):\n    return 1 / 0", r"ZeroDivisionError: .*inference\.py, line 3\)"),
            ("def model_fn(): return 0", r"model_fn takes 0 arguments; define it as model_fn\(model_dir\)"),
            (
                COUNTER + "def predict_fn(data): return 0",
                r"predict_fn takes 1 arguments; .* predict_fn\(data, model, context\)",
            ),
            ("def predict_fn(data, model): return 0", r"no model_fn and .*model\.pt does not exist; write model_fn"),
            (COUNTER + "def transform_fn(m, d, c, a): pass\ndef input_fn(d, c): pass", "transform_fn replaces"),
            ("raise SystemExit(2)", r"sys\.exit\(2\)"),
            (COUNTER + "BATCHING = True", "BATCHING is for a script with predict_fn"),
        ],
    )
    def test_a_script_that_cannot_be_loaded(self, failure: Callable[[str], str], code: str, words: str) -> None:
        assert re.search(words, failure(code))

    def test_a_model_that_is_not_torchscript(self, failure: Callable[[str], str], tmp_path: Path) -> None:
        write_script(tmp_path, "")
        torch.save({"weight": torch.zeros(1)}, tmp_path / "model/model.pt")
        assert "is not TorchScript; write model_fn" in failure("")


class TestBatching:
    CODE = (
        COUNTER
        + """
BATCHING = True
import os, pathlib, time
def input_fn(body, content_type):
    return int(body)
def predict_fn(data, model):
    while os.path.exists(GATE):
        pathlib.Path(GATE + " reached").touch()
        time.sleep(0.01)
    assert isinstance(data, list)
    if 13 in data: raise ValueError("13")
    return [(value * model["factor"], len(data)) for value in data]
def output_fn(prediction, accept):
    return list(prediction)
"""
    )

    def test_waiting_requests_are_predicted_together(self, serve: Serve, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        client = serve(f"GATE = {str(gate)!r}\n" + self.CODE, batch_size=8)
        assert post(client, b"3").get_json() == [6, 1]
        gate.touch()
        batcher = client.application.extensions["loader"].model._batcher
        with ThreadPoolExecutor(6) as pool:
            waiting = [pool.submit(post, client, b"0")]
            wait_until((tmp_path / "gate reached").exists, lambda: "it is not computed")
            waiting += [pool.submit(post, client, str(number).encode()) for number in range(1, 6)]
            wait_until(lambda: batcher.in_flight == 6, lambda: f"{batcher.in_flight} are in flight")
            gate.unlink()
            answers = [answer.result().get_json() for answer in waiting]
        assert answers == [[0, 1], *([2 * number, 5] for number in range(1, 6))]

    def test_as_many_requests_as_cores_are_decoded_at_once(self, serve: Serve) -> None:
        """Each with one thread of torch's: they would take the cores from each other, and from the model."""
        cores = available_cores()
        client = serve(
            f"CORES = {cores}\n"
            + COUNTER
            + """
import threading, time, torch
BATCHING = True
lock, now, most, all_cores = threading.Lock(), [], [], threading.Barrier(CORES, timeout=60)
def input_fn(body, content_type):
    with lock:
        now.append(1)
        most.append(len(now))
    all_cores.wait()
    time.sleep(0.05)  # for one more, if there could be one more
    with lock:
        now.pop()
    return torch.get_num_threads()
def predict_fn(data, model):
    return [(threads, torch.get_num_threads(), max(most)) for threads in data]
def output_fn(prediction, accept):
    return list(prediction)
"""
        )
        with ThreadPoolExecutor(4 * cores) as pool:
            answers = [answer.get_json() for answer in pool.map(lambda _: post(client), range(4 * cores))]
        assert {threads for threads, _, _ in answers} == {1}
        assert {threads for _, threads, _ in answers} == {torch.get_num_threads()}, "the model keeps its own"
        assert max(most for _, _, most in answers) == cores

    def test_only_the_request_at_fault_fails(self, serve: Serve, tmp_path: Path) -> None:
        client = serve(f"GATE = {str(tmp_path / 'no gate')!r}\n" + self.CODE)
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda n: post(client, str(n).encode()).status_code, (1, 13, 2, 3)))
        assert statuses == [200, 500, 200, 200]


def test_the_server_describes_a_script_and_has_no_page_for_it(serve: Serve) -> None:
    client = serve(COUNTER + "def transform_fn(*given): return 'x'")
    assert client.get("/").status_code == 404
    document = client.get("/openapi.json").get_json()
    assert document["paths"]["/invocations"]["post"]["requestBody"]["content"] == {"*/*": {}}
    assert not [one for one in document["paths"]["/invocations"]["post"]["parameters"] if one["in"] == "query"]
    assert client.get("/ping").status_code == 200


def test_custom_attributes_are_returned(serve: Serve) -> None:
    client = serve(COUNTER + "def transform_fn(*given): return 'x'")
    name = "X-Amzn-SageMaker-Custom-Attributes"
    assert client.post("/invocations", data=b"x", headers={name: "trace=7"}).headers[name] == "trace=7"
