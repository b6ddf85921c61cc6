"""The page's files, as they leave the server."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain

import pytest
from flask.testing import FlaskClient

from byoc_serve.app import create_app
from byoc_serve.loader import Loader
from byoc_serve.page import INDEX, load_assets
from byoc_serve.readiness import Readiness
from byoc_serve.settings import Settings

LARGEST = 60_000  # bytes, all files together

ASSETS = load_assets()
TEXTS = {name: asset.content.decode() for name, asset in ASSETS.items()}


def client_of(settings: Settings) -> FlaskClient:
    return create_app(settings, Loader(lambda: pytest.fail("never started"), Readiness())).test_client()


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """Of a server whose model is not there yet: the page is."""
    return client_of(Settings())


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml; charset=utf-8"),
    ],
)
def test_each_has_its_type_and_the_policy(client: FlaskClient, path: str, media_type: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.content_type) == (200, media_type)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)
    assert {source for text in policy.values() for source in text.split()} <= {"'none'", "'self'", "blob:", "'script'"}


def test_what_the_browser_has_is_not_sent_again(client: FlaskClient) -> None:
    first = client.get("/page/page.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/page/page.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = client.get("/page/page.css", headers={"If-None-Match": first.headers["ETag"]})
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/__init__.py", "/page/..%2f__init__.py", "/index.html"]
)
def test_nothing_else_is_served(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "Not Found" in response.get_json()["error"]


def test_it_can_be_left_out() -> None:
    client = client_of(Settings.from_environment({"PAGE": "0"}))
    assert [client.get(path).status_code for path in ("/", "/page/page.js", "/ping")] == [404, 404, 503]


def test_it_is_small_and_whole() -> None:
    assert sum(len(asset.content) for asset in ASSETS.values()) < LARGEST
    index = re.findall(r'(?:href|src)="(?:page/)?([^"#]+)"', TEXTS[INDEX])
    imported = chain.from_iterable(re.findall(r'from "\./(.+?)"', text) for text in TEXTS.values())
    assert {*index, *imported} == set(ASSETS) - {INDEX}


def test_no_other_host_is_named() -> None:
    named = {address for text in TEXTS.values() for address in re.findall(r"\w+://[\w.]+", text)}
    assert named <= {"http://www.w3.org"}, "the name of SVG, which is not fetched"


def test_every_element_that_a_module_asks_for_is_there() -> None:
    there = set(re.findall(r'\bid="([\w-]+)"', TEXTS[INDEX]))
    scripts = [text for name, text in TEXTS.items() if name.endswith(".js")]
    blocks: Callable[[str], list[str]] = re.compile(r"const \{([^}]+)\} = (?:this\.)?elements;").findall
    wanted = {name.split(":")[0].strip() for text in scripts for block in blocks(text) for name in block.split(",")}
    assert wanted
    assert wanted <= there
