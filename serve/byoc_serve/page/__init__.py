"""The page at `/`: try the model in a browser. It is self-contained: the browser loads nothing from other servers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath

from flask import Flask, Response, abort, request

from byoc_vision.inference.palette import MOST_CLASSES, NAMES_OF_BACKGROUND, class_colour

INDEX = "index.html"
PALETTE = "palette.js"

# Fixed, because the host's own table may have another type for .js, with which browsers run no module.
MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}

HEADERS = {
    # Only files of this folder run, are shown or are requested; the user's images are blobs.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Cached, but revalidated each time: a newer server's page is seen at once, an unchanged one costs a 304.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    content: bytes
    media_type: str

    @property
    def etag(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:16]


def add_page(app: Flask) -> None:
    """Serve the page at `/` and its files below `/page/`."""
    assets = load_assets()

    @app.get("/")
    def index() -> Response:
        return _respond(assets[INDEX])

    @app.get("/page/<name>")
    def asset(name: str) -> Response:
        return _respond(assets[name]) if name in assets else abort(404)


def load_assets() -> dict[str, Asset]:
    """Every file of the page, by its name."""
    files = (resources.files(__name__) / "static").iterdir()
    contents = {file.name: file.read_bytes() for file in files if file.is_file()} | {PALETTE: _palette()}
    return {name: Asset(content, _media_type(name)) for name, content in contents.items()}


def _palette() -> bytes:
    """A module with the colours in which masks are drawn elsewhere too."""
    colours = "".join(bytes(class_colour(index)).hex() for index in range(MOST_CLASSES))
    names = json.dumps(NAMES_OF_BACKGROUND)
    return f'export const COLOURS = "{colours}"; // RRGGBB after RRGGBB\nexport const BACKGROUND = {names};\n'.encode()


def _media_type(name: str) -> str:
    return f"{MEDIA_TYPES[PurePath(name).suffix]}; charset=utf-8"


def _respond(asset: Asset) -> Response:
    response = Response(asset.content, content_type=asset.media_type, headers=HEADERS)
    response.set_etag(asset.etag)
    response.make_conditional(request)
    return response
