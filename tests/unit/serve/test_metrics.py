"""The figures that Prometheus reads."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from byoc_serve.metrics import CONTENT_TYPE, OTHER, ROUTES, SECONDS, Metrics
from byoc_serve.multi_model.registry import Registry
from byoc_serve.multi_model.routes import create_multi_model_app
from byoc_serve.settings import Settings

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(metrics: Metrics, ready: bool = True) -> Samples:
    """Every sample by its name and labels, as Prometheus's own parser understands the text."""
    text = metrics.exposition(ready).decode()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_requests_are_counted_by_route_and_status() -> None:
    metrics = Metrics()
    worker = metrics.worker()
    for route, status in [("/ping", 200), ("/invocations", 200), ("/invocations", 503), ("/invocations", 200)]:
        worker.request(route, status, 0.02)
    for route in ("", "/never/heard/of"):
        worker.request(route, 404, 0.001)
    samples = read(metrics)
    assert of(samples, "byoc_requests_total", route="/invocations", status="200") == 2
    assert of(samples, "byoc_requests_total", route="/invocations", status="503") == 1
    assert of(samples, "byoc_requests_total", route=OTHER, status="404") == 2
    assert ("byoc_requests_total", frozenset({("route", "/ping"), ("status", "404")})) not in samples
    assert of(samples, "byoc_request_seconds_count", route="/invocations") == 3
    assert of(samples, "byoc_request_seconds_bucket", route="/invocations", le="0.01") == 0
    assert of(samples, "byoc_request_seconds_bucket", route="/invocations", le="0.025") == 3


@given(st.lists(st.floats(0, 100) | st.sampled_from(SECONDS)))
def test_each_bucket_has_what_is_at_or_below_its_bound(values: list[float]) -> None:
    metrics = Metrics()
    worker = metrics.worker()
    for value in values:
        worker.request("/ping", 200, value)
    samples = read(metrics)
    if not values:
        assert not any(name.startswith("byoc_request_seconds") for name, _ in samples)
        return
    for bound in SECONDS:
        at_or_below = sum(value <= bound for value in values)
        assert of(samples, "byoc_request_seconds_bucket", route="/ping", le=str(bound)) == at_or_below
    assert of(samples, "byoc_request_seconds_bucket", route="/ping", le="+Inf") == len(values)
    assert abs(of(samples, "byoc_request_seconds_sum", route="/ping") - sum(values)) < 1e-6 * (1 + sum(values))


def test_batches_the_queue_and_the_model() -> None:
    metrics = Metrics(workers=2)
    first, second = metrics.worker(0), metrics.worker(1)
    for size in (1, 8, 8):
        first.batch_starts(size)
    second.batch_starts(3)
    first.items_wait(4)
    second.items_wait(2)
    samples = read(metrics)
    assert [of(samples, "byoc_batch_size_bucket", le=le) for le in ("1.0", "2.0", "4.0", "8.0")] == [1, 1, 2, 4]
    assert of(samples, "byoc_batch_size_sum") == 20
    assert of(samples, "byoc_queue_depth") == 6
    assert of(samples, "byoc_model_ready") == 1
    assert of(read(metrics, ready=False), "byoc_model_ready") == 0


def test_a_worker_in_another_s_place_goes_on_counting_and_begins_with_an_empty_queue() -> None:
    metrics = Metrics()
    metrics.worker().request("/ping", 200, 0.1)
    metrics.worker().items_wait(5)
    metrics.worker().request("/ping", 200, 0.1)
    samples = read(metrics)
    assert of(samples, "byoc_requests_total", route="/ping", status="200") == 2
    assert of(samples, "byoc_queue_depth") == 0


def test_forked_workers_count_for_all() -> None:
    metrics = Metrics(workers=2)
    for number in range(2):
        child = os.fork()
        if child == 0:
            metrics.worker(number).request("/ping", 200, 0.1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert of(read(metrics), "byoc_requests_total", route="/ping", status="200") == 2


def test_no_thread_s_count_is_lost() -> None:
    metrics = Metrics()
    worker = metrics.worker()

    def count(_: int) -> None:
        for _ in range(2000):
            worker.request("/ping", 200, 0.1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert of(read(metrics), "byoc_requests_total", route="/ping", status="200") == 16_000


def test_counting_is_cheap() -> None:
    """0.05 ms of a request is what it may take; it takes a twentieth of that."""
    worker = Metrics().worker()

    def seconds_of(times: int) -> float:
        started = time.thread_time()
        for _ in range(times):
            worker.request("/invocations", 200, 0.02)
            worker.items_wait(1)
            worker.batch_starts(1)
        return (time.thread_time() - started) / times

    assert min(seconds_of(200) for _ in range(10)) < 50e-6


def test_the_server_answers_them(labels: FlaskClient) -> None:
    labels.get("/nowhere")
    response = labels.get("/metrics")
    assert (response.status_code, response.content_type) == (200, CONTENT_TYPE)
    text = response.get_data(as_text=True)
    assert f'byoc_requests_total{{route="{OTHER}",status="404"}}' in text
    assert "byoc_model_ready 1.0" in text
    labels.get("/metrics")
    assert 'byoc_requests_total{route="/metrics",status="200"}' in labels.get("/metrics").get_data(as_text=True)


def test_every_route_of_both_apps_is_counted_by_its_name(labels: FlaskClient) -> None:
    registry = Registry(lambda folder: pytest.fail(f"{folder} is not loaded"), unload_timeout=1)
    apps = (labels.application, create_multi_model_app(Settings(), registry))
    assert {rule.rule for app in apps for rule in app.url_map.iter_rules()} == set(ROUTES)


def test_bounds_rise() -> None:
    assert all(low < high for low, high in pairwise(SECONDS))
