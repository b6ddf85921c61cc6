"""What the serving benchmarks read and compute: the load generators' numbers, and the agreement of predictions."""

from __future__ import annotations

import importlib
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.images import encode

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
OUTPUT = """Running 3s test @ http://127.0.0.1:8080/invocations
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    84.10ms    5.20ms  99.50ms   71.0%
Requests/sec:     95.00

{"requests": 285, "microseconds": 3000000, "p50": 84100, "p99": 98200, "longest": 99500, "errors": ERRORS}
"""
FINE = OUTPUT.replace("ERRORS", json.dumps({"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}))


@pytest.fixture
def wrk(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return imported("wrk", monkeypatch)


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return imported("arrivals", monkeypatch)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return imported("serving_answers", monkeypatch)


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def test_results_of_wrk(wrk: ModuleType) -> None:
    load = wrk.parse(FINE, generator=0.02)
    assert (load.rate, load.p50, load.p99, load.generator) == (95, 84.1, 98.2, 0.02)


@pytest.mark.parametrize("kind", ["connect", "read", "write", "status", "timeout"])
def test_a_run_with_errors_is_not_a_result(wrk: ModuleType, kind: str) -> None:
    with pytest.raises(wrk.LoadError, match=f"{kind}.*3"):
        wrk.parse(FINE.replace(f'"{kind}": 0', f'"{kind}": 3'))


@pytest.mark.parametrize("output", ["unable to connect to 127.0.0.1:8080 Connection refused", OUTPUT.split("{")[0]])
def test_a_run_without_numbers_is_not_a_result(wrk: ModuleType, output: str) -> None:
    with pytest.raises(wrk.LoadError, match="no figures"):
        wrk.parse(output)


def test_a_run_without_responses_is_not_a_result(wrk: ModuleType) -> None:
    with pytest.raises(wrk.LoadError, match="0 requests"):
        wrk.parse(FINE.replace("285", "0"))


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0.5, 1)])
def test_percentiles(arrivals: ModuleType, percent: float, value: int) -> None:
    assert arrivals.percentile(range(100, 0, -1), percent) == value


def test_random_arrivals_are_all_answered(arrivals: ModuleType) -> None:
    seen: list[bytes] = []
    with serving(200, seen) as port:
        latencies = arrivals.arrive(port, "/predict", [b"one", b"two"], rate=200, seconds=0.2)
    assert len(latencies) == len(seen) > 10
    assert set(seen) == {b"one", b"two"}
    assert all(latency > 0 for latency in latencies)


def test_arrivals_that_meet_an_error_are_not_a_result(arrivals: ModuleType, wrk: ModuleType) -> None:
    with serving(503, []) as port, pytest.raises(wrk.LoadError, match="503"):
        arrivals.arrive(port, "/predict", [b"one"], rate=100, seconds=0.1)


@pytest.mark.parametrize(
    "body", [b'{"cat": 0.2, "dog": 0.8}', b'[{"label": "cat", "score": 0.2}, {"label": "dog", "score": 0.8}]']
)
def test_the_likeliest_class_of_both_forms(answers: ModuleType, body: bytes) -> None:
    assert answers.likeliest(body) == "dog"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"not JSON", b"7", b'["cat"]'])
def test_answers_without_classes(answers: ModuleType, body: bytes) -> None:
    with pytest.raises(answers.AnswerError, match="no class probabilities"):
        answers.likeliest(body)


def test_masks_must_overlap(answers: ModuleType) -> None:
    pixels = np.zeros((20, 20), np.uint8)
    pixels[:10] = 255
    moved = np.roll(pixels, 5, axis=0)
    assert answers.agreement("segmentation", [encode(pixels)], [encode(pixels)]) == 1
    with pytest.raises(answers.AnswerError, match=r"0\.333"):
        answers.agreement("segmentation", [encode(moved)], [encode(pixels)])
    with pytest.raises(answers.AnswerError, match="no PNG"):
        answers.agreement("segmentation", [b"{}"], [encode(pixels)])


def test_classes_must_agree(answers: ModuleType) -> None:
    cat, dog = b'{"cat": 0.9, "dog": 0.1}', b'{"cat": 0.4, "dog": 0.6}'
    assert answers.agreement("classification", [cat, dog], [cat, dog]) == 1
    with pytest.raises(answers.AnswerError, match=r"0\.500"):
        answers.agreement("classification", [cat, cat], [cat, dog])


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return imported("serving_servers", monkeypatch)


@pytest.mark.parametrize(
    ("log", "precision"),
    [
        ("OpenVINO: float32 9 ms, int8 3 ms per image; int8 serves\n", "OpenVINO int8"),
        ("OpenVINO float32 on cpu is not ready\n", "OpenVINO int8"),
        ("", "PyTorch float32"),
    ],
)
def test_the_precision_of_each_server(servers: ModuleType, tmp_path: Path, log: str, precision: str) -> None:
    ready = "ready after 2.1 s: unet/resnet18, segmentation, 2 classes, OpenVINO int8 on cpu\n" if log else ""
    (tmp_path / "log").write_text(log + ready)
    assert servers.Server("one", None, 0, "/", tmp_path / "log").precision() == precision


def test_each_of_our_servers_is_compared_with_the_best_peer(
    servers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    race = imported("serving_race", monkeypatch)
    rates = {"ours": 90.0, "ours_float32": 30.0, "flask": 20.0, "litserve": 15.0}
    loads = imported("wrk", monkeypatch)
    served = imported("serving_models", monkeypatch).Served(Path(), Path(), (), "classification")
    compared = race.Race(served, dict.fromkeys(rates), turns=1, seconds=1.0)
    compared.figures = {
        name: race.Figures(loads={8: [loads.Load(int(rate), 1.0, 1.0, 1.0, 0.0)]}, equal=[1000 / rate])
        for name, rate in rates.items()
    }
    found = {name: compared._ratios(name) for name in servers.OWN_OF_A_MODEL}
    assert found["ours"]["rate, 8 connections"] == {"ours / best peer": 4.5, "peer": "flask"}
    assert found["ours_float32"]["rate, 8 connections"] == {"ours / best peer": 1.5, "peer": "flask"}
    assert found["ours"]["p99, equal load"] == {"ours / best peer": 0.22, "peer": "flask"}


@contextmanager
def serving(status: int, seen: list[bytes]) -> Iterator[int]:
    """The port of a server that answers every POST with `status`, and notes the bodies."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """No log."""

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
