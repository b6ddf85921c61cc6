"""A script in a process of its own, for an endpoint with many: modules of the same name do not meet, and the memory is
free when the process has ended.

The server starts `python -m byoc_serve.scripts.process FD OPTIONS`; FD is its end of a pair of sockets.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from byoc_serve.scripts.handlers import Handlers, ScriptRequest, load_handlers
from byoc_serve.scripts.source import Script, install_requirements
from byoc_serve.service import EncodedResponse
from byoc_serve.settings import Settings
from byoc_vision.errors import InputError, RequestError, UserError
from byoc_vision.logs import set_up_logging
from byoc_vision.system.machine import visible_gpus
from byoc_vision.system.memory import is_out_of_memory

_SETTINGS = {"default_accept", "max_megapixels", "log_level"}  # that matter to the process
_HEAD = struct.Struct(">IQ")  # the sizes of both parts of a message
_RECEIVED = 2**20  # bytes at a time
_END_SECONDS = 5.0  # for the script's own end; then its process is killed

logger = logging.getLogger(__name__)


class Channel:
    """One end of a pair of sockets, between the server and the process of a script; they send and receive in turn.

    A message is a JSON object and bytes. Never pickle, which is code.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Raises OSError if the other end is closed."""
        text = json.dumps(header).encode()
        self._connection.sendall(_HEAD.pack(len(text), len(body)) + text)
        self._connection.sendall(body)

    def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """The next message; None if the other end is closed."""
        try:
            head = self._read(_HEAD.size)
            if len(head) < _HEAD.size:
                return None
            text_size, body_size = _HEAD.unpack(head)
            text, body = self._read(text_size), self._read(body_size)
        except ConnectionError:
            return None
        if len(text) < text_size or len(body) < body_size:
            return None
        return json.loads(text), bytes(body)

    def close(self) -> None:
        self._connection.close()

    def _read(self, size: int) -> bytearray:
        """So many bytes, or fewer if the other end is closed."""
        content = bytearray()
        while len(content) < size and (piece := self._connection.recv(min(_RECEIVED, size - len(content)))):
            content += piece
        return content


class ScriptProcess:
    """The server's side: starts the process, asks it, and ends it. All in one thread, except `abort`.

    Raises InputError if the script cannot be loaded, MemoryError if its process is killed, and ResourceError if its
    requirements cannot be installed.
    """

    takes_lists: bool

    def __init__(self, script: Script, settings: Settings) -> None:
        self._script = script
        self._settings = settings
        self._packages: Path | None = None
        if script.requirements:
            self._packages = Path(tempfile.mkdtemp(prefix="byoc-packages-"))
            try:
                install_requirements(script.requirements, self._packages)
            except UserError:
                shutil.rmtree(self._packages, ignore_errors=True)
                raise
        self._start()

    def __str__(self) -> str:
        return f"{self._description} in process {self._process.pid}"

    def respond_all(self, requests: Sequence[ScriptRequest]) -> list[EncodedResponse | Exception]:
        """As `Handlers.respond_all`. A process that has died is started again for the next request."""
        if self._process.poll() is not None:
            logger.warning("the process of %s is started again", self._script.program)
            self._channel.close()
            self._start()
        headers = [asdict(request) | {"body": len(request.body)} for request in requests]
        try:
            self._channel.send({"requests": headers}, b"".join(request.body for request in requests))
            message = self._channel.receive()
        except OSError:
            message = None
        if message is None:
            raise self._died()
        header, content = message
        return [
            _as_error(one)
            if "error" in one
            else EncodedResponse(body, one["media_type"], one["status"], one["headers"])
            for one, body in _cut(header["responses"], content)
        ]

    def abort(self) -> None:
        """End a call that hangs; from any thread."""
        self._process.kill()

    def close(self) -> None:
        """End the process; its memory is free when this returns."""
        self._channel.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._packages:
            shutil.rmtree(self._packages, ignore_errors=True)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        options = {
            "script": {name: str(path) for name, path in asdict(self._script).items()},
            "settings": self._settings.model_dump(mode="json", include=_SETTINGS),
        }
        environment = dict(os.environ)
        if self._packages:
            environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, [str(self._packages), os.environ.get("PYTHONPATH")])
            )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "byoc_serve.scripts.process", str(theirs.fileno()), json.dumps(options)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._channel = Channel(ours)
        message = self._channel.receive()
        if message is None or "error" in message[0]:
            error = self._died() if message is None else _as_error(message[0])
            self.close()
            raise error
        self._description, self.takes_lists = message[0]["loaded"], message[0]["takes_lists"]

    def _died(self) -> Exception:
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return MemoryError(f"the process of {self._script.program} was killed")
        return RuntimeError(f"the process of {self._script.program} ended with status {status}")


def _as_error(said: dict[str, Any]) -> Exception:
    kind, text = said["error"], said["text"]
    if kind == "request":
        return RequestError(said["status"], text)
    if kind == "memory":
        return MemoryError(text)
    return InputError(text) if kind == "user" else RuntimeError(text)


def _describe(error: Exception) -> dict[str, Any]:
    if isinstance(error, RequestError):
        return {"error": "request", "status": error.status, "text": error.message}
    if is_out_of_memory(error):
        return {"error": "memory", "text": f"{type(error).__name__}: {error}"}
    if isinstance(error, UserError):
        return {"error": "user", "text": str(error)}
    return {"error": "other", "text": "".join(traceback.format_exception(error)).rstrip()}


def _serve(channel: Channel, handlers: Handlers) -> None:
    """Respond until the server closes its end."""
    while (message := channel.receive()) is not None:
        header, content = message
        requests = [ScriptRequest(**one | {"body": body}) for one, body in _cut(header["requests"], content)]
        responses = handlers.respond_all(requests)
        said = [_describe(one) if isinstance(one, Exception) else _header(one) for one in responses]
        channel.send({"responses": said}, b"".join(one.body for one in responses if isinstance(one, EncodedResponse)))


def _header(response: EncodedResponse) -> dict[str, Any]:
    said = {"media_type": response.media_type, "status": response.status, "headers": response.headers}
    return said | {"body": len(response.body)}


def _cut(headers: list[dict[str, Any]], content: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each header with its part of the content, whose length it has."""
    start = 0
    for header in headers:
        end = start + header.get("body", 0)
        yield header, content[start:end]
        start = end


def main(descriptor: int, options: dict[str, Any]) -> None:
    """The script's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server, which ends this process
    settings = Settings.model_validate(options["settings"])
    set_up_logging(settings.logging_level)
    script = Script(**{name: Path(path) for name, path in options["script"].items()})
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        handlers = load_handlers(script, settings, 0 if visible_gpus(os.environ) else None)
    except Exception as error:
        channel.send(_describe(error))
        return
    channel.send({"loaded": str(handlers), "takes_lists": handlers.takes_lists})
    _serve(channel, handlers)
    handlers.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
