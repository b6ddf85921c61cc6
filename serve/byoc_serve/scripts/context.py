"""The `context` that a handler's function may take, as multi-model-server and TorchServe have it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from byoc_vision import __version__


class Context:
    """What a handler can read of its model and request, and set of the response.

    The index of a request, `idx`, is accepted and ignored: each request has its own context.
    """

    def __init__(self, model: Path, gpu: int | None, request_id: str = "", headers: Mapping[str, str] | None = None):
        self.model_name = "model"
        self.manifest: dict[str, Any] = {}
        self.system_properties: dict[str, Any] = {
            "model_dir": str(model),
            "gpu_id": gpu,
            "batch_size": 1,
            "server_name": "byoc-vision",
            "server_version": __version__,
        }
        self.request_ids = {0: request_id}
        self.request_processor = [self]
        self.status = 200
        self.content_type: str | None = None
        self.response_headers: dict[str, str] = {}
        self._headers = dict(headers or {})
        self._by_lower_name = {name.lower(): value for name, value in self._headers.items()}

    def get_request_id(self, idx: int = 0) -> str:
        return self.request_ids[0]

    def get_request_header(self, idx: int | str, key: str | None = None) -> str | None:
        """A header's value, by its name in any case; `idx` may be left out."""
        return self._by_lower_name.get(str(idx if key is None else key).lower())

    def get_all_request_header(self, idx: int = 0) -> dict[str, str]:
        return dict(self._headers)

    def get_request_properties(self) -> dict[str, str]:
        return dict(self._headers)

    def get_request_property(self, key: str) -> str | None:
        return self.get_request_header(0, key)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_type = value

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        self.response_headers[str(key)] = str(value)

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.status = int(HTTPStatus(code))

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        self.set_response_status(code)
