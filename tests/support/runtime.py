"""SageMaker's runtime as boto3 sees it, in front of real servers: their answers, and its own errors.

Source: botocore's model of `sagemaker-runtime`, and the words of ModelError as people report them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import requests

PASSED_ON = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes")
SERVERLESS_LIMIT = 4 * 2**20  # bytes


@dataclass(frozen=True)
class Seen:
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Failure:
    """What is answered instead: an error as SageMaker itself has it, or (of a model) as a URL's server would."""

    status: int
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Runtime:
    """endpoints: each with the URL of its server. failures: what the next requests get. seen: what came.
    answering: while it is not set, requests wait. many_models: whether the servers are multi-model ones; one model
    answers for all otherwise.
    """

    url: str
    endpoints: dict[str, str]
    serverless: frozenset[str] = frozenset()
    failures: list[Failure] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    many_models: bool = True
    answering: threading.Event = field(default_factory=threading.Event)


@contextmanager
def start_runtime(
    endpoints: Mapping[str, str], serverless: frozenset[str] = frozenset(), many_models: bool = True
) -> Iterator[Runtime]:
    """Listens on a port of its own until the block ends."""
    runtime = Runtime("", dict(endpoints), serverless, many_models=many_models)
    runtime.answering.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            runtime.seen.append(Seen(self.path, self.headers, body))
            runtime.answering.wait()
            if runtime.failures:
                failure = runtime.failures.pop(0)
                self.fail(failure.status, failure.code, {"message": failure.message}, failure.headers)
            else:
                self.pass_on(body)

        def pass_on(self, body: bytes) -> None:
            name = self.path.removeprefix("/endpoints/").removesuffix("/invocations")
            if name not in runtime.endpoints:
                self.fail(400, "ValidationError", {"message": f"Endpoint {name} of account 123456789012 not found."})
                return
            if name in runtime.serverless and len(body) > SERVERLESS_LIMIT:
                self.fail(400, "ValidationError", {"message": "Request 0-1 has oversize body."})
                return
            model = self.headers.get("X-Amzn-SageMaker-Target-Model")
            path = f"/models/{quote(model, safe='')}/invoke" if model and runtime.many_models else "/invocations"
            headers = {key: self.headers[key] for key in PASSED_ON if self.headers[key] is not None}
            answer = requests.post(runtime.endpoints[name] + path, data=body, headers=headers, timeout=60)
            if answer.ok:
                self.answer(200, answer.content, {"Content-Type": answer.headers["Content-Type"]})
                return
            told = f'Received client error ({answer.status_code}) from primary with message "{answer.text}".'
            document = {
                "ErrorCode": "CLIENT_ERROR_FROM_MODEL",
                "LogStreamArn": "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/sagemaker/Endpoints/cars",
                "Message": told,
                "OriginalMessage": answer.text,
                "OriginalStatusCode": answer.status_code,
            }
            self.fail(424, "ModelError", document)

        def fail(
            self, status: int, code: str, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
        ) -> None:
            kind = {"x-amzn-ErrorType": code} if code else {}
            self.answer(status, json.dumps(document).encode(), {**kind, **(headers or {})})

        def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # who asked may have gone
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        runtime.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield runtime
        server.shutdown()
