"""The calls of a multi-model endpoint, asked in-process: names and paths of all kinds."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from byoc_serve.model_service import ModelService
from byoc_serve.multi_model.registry import Registry
from byoc_serve.multi_model.routes import create_multi_model_app, folder_of
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError
from byoc_vision.inference.predictor import Predictor

# Half a character has no bytes that could stand in a path.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.fixture
def client(classifier: Predictor, tmp_path: Path) -> FlaskClient:
    (tmp_path / "models/x/model").mkdir(parents=True)
    registry = Registry(lambda _: ModelService(classifier, Settings()), unload_timeout=60)
    return create_multi_model_app(Settings(root=tmp_path), registry).test_client()


@given(name=NAMES)
@example(name="a/../\n//invoke")
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_name(client: FlaskClient, tmp_path: Path, png: bytes, name: str) -> None:
    body = {"model_name": name, "url": str(tmp_path / "models/x/model")}
    path = f"/models/{quote(name, safe='')}"
    assert client.post("/models", json=body).status_code == 200
    try:
        assert client.get(path).json == {"modelName": name, "modelUrl": body["url"]}
        assert client.post(f"{path}/invoke", data=png, content_type="image/png").status_code == 200
    finally:
        assert client.delete(path).status_code == 200
    assert client.get("/models").json == {"models": []}


@given(token=st.text(max_size=20))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_token_of_anything_is_answered(client: FlaskClient, token: str) -> None:
    answer = client.get("/models", query_string={"next_page_token": token, "limit": "7"})
    assert answer.status_code in (200, 400)
    assert client.get("/models", query_string={"limit": token or "x"}).status_code in (200, 400)


@given(body=st.one_of(st.binary(max_size=40), st.sampled_from([b'{"model_name": "\\ud800", "url": "x"}', b"[" * 99])))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_gets_a_json_error(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/models", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json["error"]


@pytest.mark.parametrize("url", ["/etc", "/opt/ml/models", "/opt/ml/models/..", "/opt/ml/models/a/../../x", "a/model"])
def test_folders_are_below_that_of_the_models(url: str) -> None:
    with pytest.raises(RequestError, match="below /opt/ml/models") as raised:
        folder_of(url, Path("/opt/ml/models"))
    assert raised.value.status == 400


@given(url=st.text(max_size=30))
def test_no_path_leads_out_of_it(url: str) -> None:
    with pytest.raises(RequestError) as raised:
        folder_of(f"/opt/ml/models/{url}", Path("/opt/ml/models"))
    assert raised.value.status in (400, 404)


def test_a_model_is_called_as_its_users_know_it(client: FlaskClient, png: bytes) -> None:
    headers = {"X-Amzn-SageMaker-Target-Model": "team/cars.tar.gz"}
    answer = client.post("/models/abc/invoke", data=png, headers=headers)
    assert answer.status_code == 404
    assert "team/cars.tar.gz (abc)" in answer.json["error"]
