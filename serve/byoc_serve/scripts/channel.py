"""Messages between the server and the process of a script: a JSON object and bytes. Never pickle, which is code."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEAD = struct.Struct(">IQ")  # the sizes of both parts
_PIECE = 2**20


class Channel:
    """One end of a pair of sockets. Both ends send and receive in turn."""

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
        while len(content) < size and (piece := self._connection.recv(min(_PIECE, size - len(content)))):
            content += piece
        return content
