"""The description of the API says what the code does. That the server keeps to it is tested in tests/api."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from byoc_serve.decode import IMAGE_TYPES
from byoc_serve.metrics import CONTENT_TYPE
from byoc_serve.openapi import ERRORS, describe
from byoc_serve.request_options import OPTIONS
from byoc_serve.response_format import RESPONSE_FORMATS
from byoc_serve.settings import Settings

DOCUMENTATION = Path(__file__).parents[3] / "docs/http.md"


def test_it_names_every_path_and_method_of_the_app_but_the_page(masks: FlaskClient) -> None:
    rules = [rule for rule in masks.application.url_map.iter_rules() if rule.rule not in ("/", "/page/<name>")]
    served = {(rule.rule, method.lower()) for rule in rules for method in rule.methods & {"GET", "POST"}}
    described = {(path, method) for path, item in describe(Settings(), None)["paths"].items() for method in item}
    assert described == served


def test_it_is_answered_for_the_model_that_is_served(masks: FlaskClient, labels: FlaskClient) -> None:
    for client in (masks, labels):
        document = client.get("/openapi.json").get_json()
        config = client.application.extensions["loader"].config
        assert document == describe(Settings(), config)
        answers = document["paths"]["/invocations"]["post"]["responses"]["200"]["content"]
        assert set(answers) == {form.media_type for form in RESPONSE_FORMATS[config.model.task]}


def test_before_there_is_a_model_all_forms_are_described() -> None:
    answers = describe(Settings(), None)["paths"]["/invocations"]["post"]["responses"]["200"]["content"]
    assert set(answers) == {form.media_type for forms in RESPONSE_FORMATS.values() for form in forms}
    assert len(answers["application/json"]["schema"]["anyOf"]) == 6


def test_it_lists_what_can_be_sent() -> None:
    document = describe(Settings(), None)
    content = document["paths"]["/invocations"]["post"]["requestBody"]["content"]
    assert set(content) > IMAGE_TYPES
    assert set(content) - IMAGE_TYPES == {
        "application/octet-stream",
        "application/x-npy",
        "application/json",
        "application/jsonlines",
        "application/x-jsonlines",
        "multipart/form-data",
    }
    assert CONTENT_TYPE in document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]


def test_it_lists_the_options_that_the_model_grants(masks: FlaskClient, labels: FlaskClient) -> None:
    granted = {}
    for name, client in (("masks", masks), ("labels", labels)):
        parameters = client.get("/openapi.json").get_json()["paths"]["/invocations"]["post"]["parameters"]
        granted[name] = {item["name"]: item["schema"] for item in parameters if item["in"] == "query"}
    assert set(granted["masks"]) == {"tile", "tta", "palette", "view", "errors"}
    assert set(granted["labels"]) == {"tta", "view", "errors"}
    assert granted["labels"]["view"] == {"enum": ["vector"]}
    everything = describe(Settings(), None)["paths"]["/invocations"]["post"]["parameters"]
    assert {item["name"] for item in everything if item["in"] == "query"} == set(OPTIONS)


def test_a_model_s_own_threshold_is_the_default(masks: FlaskClient) -> None:
    config = masks.application.extensions["loader"].config
    tagger = config.model_copy(update={"activation": "sigmoid", "threshold": 0.37})
    parameters = describe(Settings(), tagger)["paths"]["/invocations"]["post"]["parameters"]
    schemas = {item["name"]: item["schema"] for item in parameters}
    assert schemas["threshold"] == OPTIONS["threshold"].schema | {"default": 0.37}


def test_limits_are_those_of_the_settings() -> None:
    document = describe(Settings(max_payload_mb=2, max_megapixels=3, queue_length=5, request_timeout=7), None)
    responses = document["paths"]["/invocations"]["post"]["responses"]
    for number in ("2,097,152 bytes", "3,000,000 pixels", "5 images"):
        assert number in responses["413"]["description"]
    assert "within 7 s" in responses["504"]["description"]
    assert document["components"]["schemas"]["Pictures"]["anyOf"][1]["properties"]["instances"]["maxItems"] == 5


def test_every_reference_leads_somewhere() -> None:
    document = describe(Settings(), None)
    references = re.findall(r"'\$ref': '#/components/(\w+)/(\w+)'", str(document))
    assert references
    assert all(name in document["components"][kind] for kind, name in references)


@pytest.mark.parametrize("status", sorted(ERRORS))
def test_the_documentation_names_every_refusal(status: int) -> None:
    table = DOCUMENTATION.read_text(encoding="utf-8").partition("## Errors")[2].partition("\n## ")[0]
    assert str(status) in table
