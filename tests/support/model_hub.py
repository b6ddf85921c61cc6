"""A server that answers as huggingface.co does: `/REPOSITORY/resolve/REVISION/FILE`, with the headers of its files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """files: `REPOSITORY/FILE` → content. Small files have git's checksum, the others SHA-256.

    requests: method and path of each. What differs from a healthy hub: content that it sends instead of what it offers,
    a status, headers that replace its own, where it redirects to, whether it stays silent or sends drop by drop.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = COMMIT
    requests: list[str] = field(default_factory=list)
    sent_instead: bytes | None = None
    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    redirect_to: str = ""
    is_silent: bool = False
    drips: bool = False
    address: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def offer(self, name: str) -> dict[str, str]:
        content = self.files[name]
        headers: dict[str, str | None] = {"X-Repo-Commit": self.commit}
        if name.endswith(".safetensors"):
            headers |= {
                "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
                "ETag": '"of-the-pointer"',
            }
        else:
            blob = b"blob %d\0" % len(content) + content
            headers["ETag"] = f'"{hashlib.sha1(blob, usedforsecurity=False).hexdigest()}"'
        headers |= self.headers
        return {key: value for key, value in headers.items() if value is not None}


@contextmanager
def model_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, **files: bytes) -> Iterator[Hub]:
    """Jobs ask this server while it runs; `cache` is where they keep what they get."""
    hub = Hub(dict(files))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        hub = self.hub
        hub.requests.append(f"HEAD {self.path}")
        if hub.is_silent:
            hub.ended.wait()
            return
        name = self._name()
        if name not in hub.files:
            self._answer(404, {})
            return
        large = name.endswith(".safetensors")
        headers = hub.offer(name)
        if large:
            headers["Location"] = hub.redirect_to or f"/cdn/{name}"
            self._answer(hub.status or 302, headers)
        else:
            self._answer(hub.status or 200, headers | {"Content-Length": str(len(hub.files[name]))})

    def do_GET(self) -> None:
        hub = self.hub
        hub.requests.append(f"GET {self.path}")
        content = hub.sent_instead or hub.files.get(self._name())
        if content is None:
            self._answer(404, {})
            return
        self._answer(200, {"Content-Length": str(len(content))})
        if hub.drips:
            self.wfile.write(content[:100])
            hub.ended.wait()
            return
        self.wfile.write(content)

    def _name(self) -> str:
        if self.path.startswith("/cdn/"):
            return self.path.removeprefix("/cdn/")
        repository, _, rest = self.path.removeprefix("/").partition("/resolve/")
        return f"{repository}/{rest.partition('/')[2]}"

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""
