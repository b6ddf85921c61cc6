"""What a client that sends slowly may cost: no thread for a head, and one for a body only as long as it arrives."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn

LARGEST_HEAD = 2**16  # bytes
BODY_GRACE_SECONDS = 5.0  # of waiting, before the minimum rate counts
MIN_BYTES_PER_SECOND = 2**15

_END = b"\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Head:
    """The head of the next request of a connection, as far as it has arrived."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.ended = False  # the client sends nothing more

    def receive(self, client: socket.socket) -> None:
        """Take what has arrived, without waiting."""
        try:
            piece = client.recv(LARGEST_HEAD)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self.ended = not piece
        self.add(piece)

    def add(self, piece: bytes) -> None:
        """Empty lines before a request do not count."""
        self._bytes += piece
        if self._bytes.startswith((b"\r", b"\n")):
            self._bytes = self._bytes.lstrip(b"\r\n")

    @property
    def is_complete(self) -> bool:
        """Whether a thread can read it to its end without waiting."""
        return self.ended or _END in self._bytes

    @property
    def is_too_large(self) -> bool:
        return not self.is_complete and len(self._bytes) > LARGEST_HEAD

    def starts_with(self, text: bytes) -> bool:
        return self._bytes.startswith(text)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


class Connection(TConn):  # type: ignore[misc, unused-ignore]
    """A connection whose request goes to a thread only with its whole head."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.head = Head()

    def begin_request(self) -> None:
        """Called in the thread of a request: the parser reads the head that has arrived, then the socket."""
        self.sock.setblocking(True)
        self.init()
        taken = self.head.take()
        if not isinstance(self.parser.unreader, RatedUnreader):
            self.parser.unreader = RatedUnreader(self.sock)
        self.parser.unreader.begin(taken)

    def end_request(self) -> None:
        """What the client has sent of its next request."""
        if self.parser is not None:
            self.head.add(self.parser.unreader.take_buffered())


class RatedUnreader(SocketUnreader):  # type: ignore[misc, unused-ignore]
    """Reads from a socket as long as bytes arrive at the minimum rate."""

    def __init__(self, client: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(client)
        self._clock = clock
        self._waited = 0.0
        self._received = 0

    def begin(self, head: bytes) -> None:
        """Start with another request."""
        self._waited, self._received = 0.0, 0
        if head:
            self.unread(head)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Raises BlockingIOError, as the socket does after its own limit, if bytes arrive too slowly."""
        if self._waited > BODY_GRACE_SECONDS + self._received / MIN_BYTES_PER_SECOND:
            raise BlockingIOError("the client sends too slowly")
        began = self._clock()
        piece: bytes = super().chunk(size_hint)
        self._waited += self._clock() - began
        self._received += len(piece)
        return piece
