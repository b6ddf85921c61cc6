"""The files of a form: multipart/form-data. Source: RFC 7578.

werkzeug parses the form, and builds the list of a part's headers before they can be counted. So it gets the body piece
by piece, and a part whose head does not end soon is rejected.
"""

from __future__ import annotations

from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, State

MAX_PARTS = 1024
MAX_HEADERS = 32  # of a part; browsers send two

_PIECE = 2**16  # bytes


def read_files(body: bytes, boundary: str) -> list[bytes]:
    """The contents of a form's parts that have a file name, in their order.

    Raises ValueError, or werkzeug's RequestEntityTooLarge for too many parts.
    """
    if not boundary:
        raise ValueError("its Content-Type names no boundary")
    decoder = MultipartDecoder(boundary.encode("ascii"), max_parts=MAX_PARTS)
    files: list[list[bytes]] = []
    in_file = False
    for start in range(0, len(body) + _PIECE, _PIECE):  # and once more with nothing, which marks the end
        decoder.receive_data(body[start : start + _PIECE] or None)
        while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
            if isinstance(event, File | Field):
                _check_head(event)
                in_file = isinstance(event, File)
                files += [[]] if in_file else []
            elif isinstance(event, Data) and in_file:
                files[-1].append(event.data)
        if decoder.state is State.PART and len(decoder.buffer) > _PIECE:
            raise ValueError(f"the head of a part is over {_PIECE:,} bytes")
    return [b"".join(pieces) for pieces in files]


def _check_head(event: File | Field) -> None:
    if len(event.headers) > MAX_HEADERS:
        raise ValueError(f"a part has {len(event.headers):,} headers, more than the limit of {MAX_HEADERS}")
