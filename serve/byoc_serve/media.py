"""From a request's body to the pictures in it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header

from byoc_serve import npy
from byoc_serve.forms import read_files
from byoc_vision.data import fileformat
from byoc_vision.data.decoding import PictureTooLarge, read_picture
from byoc_vision.errors import DataError, RequestError

IMAGE_TYPES = frozenset(
    f"image/{name}" for name in ("jpeg", "jpg", "png", "webp", "bmp", "x-ms-bmp", "tiff", "gif")
) | {"application/x-image"}
# What clients say who do not know what they send; curl says the second of --data-binary.
UNTYPED = frozenset({"", "application/x-www-form-urlencoded", "application/octet-stream", "binary/octet-stream"})
JSON_LINES = frozenset({"application/jsonlines", "application/x-jsonlines"})

MAX_VALUES = 1000  # of JSON for a picture: its own, and what clients say beside it

_READ = (
    "image/jpeg, image/png, image/webp, image/bmp, image/tiff, image/gif, application/x-image, application/x-npy, "
    "multipart/form-data, application/json and application/jsonlines"
)
_JSON_FORMS = '{"image": "<base64>"} or {"instances": [{"b64": "<base64>"}, …]}'
_URL = re.compile(r"(?!data:)[a-zA-Z][a-zA-Z0-9+.-]{0,30}:/")
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\r\n\f\v"

Source = bytes | np.ndarray | RequestError  # an error if it was known early that there is no picture


class Limits(NamedTuple):
    """What a request may hold at the most. lines: of JSON lines, which do not have the limit of pictures."""

    pictures: int
    lines: int


@dataclass(frozen=True)
class Payload:
    """The pictures of a request, not decoded yet.

    sources: to be read once; a bad one becomes an error when it is reached, so that a million of them take no memory.
    several: whether they came in a form that holds several, so that the answer is a list, of one at times.
    unit: what messages call one of them.
    """

    sources: Iterable[Source]
    count: int = 1
    several: bool = False
    unit: str = "picture"

    def outcomes(self, max_pixels: int) -> Iterator[np.ndarray | RequestError]:
        """Each as uint8 RGB [H, W, 3], decoded as it is asked for, so that only one lies in memory.

        Or why there is none: RequestError 413 above `max_pixels`, 400 where it is no whole picture.
        """
        for number, source in enumerate(self.sources, start=1):
            where = f"{self.unit} {number}: " if self.count > 1 else ""
            try:
                yield _decode(source, max_pixels)
            except RequestError as error:
                yield RequestError(error.status, where + error.message)
            except DataError as error:
                yield RequestError(413 if isinstance(error, PictureTooLarge) else 400, f"{where}{error}")

    def pictures(self, max_pixels: int) -> Iterator[np.ndarray]:
        """As `outcomes`; an error is raised."""
        for outcome in self.outcomes(max_pixels):
            if isinstance(outcome, RequestError):
                raise outcome
            yield outcome


Reader = Callable[[bytes], Payload]


def choose_reader(content_type: str | None, limits: Limits) -> Reader:
    """What turns a body of this Content-Type into its pictures; it raises RequestError 400, and 413 above the limits.

    Raises RequestError 415, which lists what is read.
    """
    media_type, parameters = parse_options_header(content_type)
    media_type = media_type.strip().lower()
    if media_type in IMAGE_TYPES:
        return lambda body: Payload([body])
    if media_type in UNTYPED:
        return partial(_read_untyped, most=limits.pictures)
    if media_type == "application/json":
        return partial(read_json, most=limits.pictures)
    if media_type in JSON_LINES:
        return partial(read_json_lines, most=limits.lines)
    if media_type == "application/x-npy":
        return partial(read_npy, most=limits.pictures)
    if media_type == "multipart/form-data":
        return partial(read_multipart, boundary=parameters.get("boundary", ""), most=limits.pictures)
    raise RequestError(415, f"Content-Type: {content_type} is not read; read are {_READ}")


def is_json_lines(content_type: str | None) -> bool:
    """Whether a body of this Content-Type holds a record a line."""
    return parse_options_header(content_type)[0].strip().lower() in JSON_LINES


def read_json(body: bytes, most: int) -> Payload:
    """{"image": …}, {"b64": …}, or {"instances": [{"b64": …}, …]} as in TensorFlow Serving; base64 or data: URLs."""
    try:
        document = _parse_json(body, most * MAX_VALUES)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or "instances" not in document:
        return Payload([_json_picture(document)])
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, f"`instances` must be a list of pictures: {_JSON_FORMS}")
    return _several(map(_json_record, instances), len(instances), most)


def read_json_lines(body: bytes, most: int) -> Payload:
    """A JSON object a line, {"image": …} or {"b64": …}, as a batch transform with MULTI_RECORD sends a file's lines.

    Empty lines are not answered. A line that holds no picture is an error in its place.
    """
    found = body.count(b"\n") + (not body.endswith(b"\n"))
    if found > most:
        raise RequestError(413, f"{found:,} lines in one request; {most:,} are the most; send them in several")
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    if not lines:
        raise RequestError(400, 'the body has no lines; send a JSON object a line, as {"image": "<base64>"}')
    return Payload(map(_read_line, lines), len(lines), several=True, unit="record")


def read_npy(body: bytes, most: int) -> Payload:
    """uint8 [H, W], [H, W, 3] or [N, H, W, 3], the last one being N pictures."""
    try:
        array = npy.view_uint8(body)
    except ValueError as error:
        raise RequestError(400, f"{error}; send uint8 [H, W], [H, W, 3] or [N, H, W, 3]") from error
    shape = list(array.shape)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim not in (3, 4) or array.shape[-1] not in (1, 3):
        raise RequestError(400, f"the array's shape is {shape}; send uint8 [H, W], [H, W, 3] or [N, H, W, 3]")
    return _several(array, len(array), most) if array.ndim == 4 else Payload([array])


def read_multipart(body: bytes, boundary: str, most: int) -> Payload:
    """The file parts of a form, in their order; one file is one picture, more are several."""
    try:
        files = read_files(body, boundary)
    except (ValueError, RequestEntityTooLarge) as error:
        raise RequestError(400, f"the body is not a whole form: {error}") from error
    if not files:
        raise RequestError(400, "the form has no file in it; send one, as `curl -F image=@picture.jpg` does")
    return _several(files, len(files), most) if len(files) > 1 else Payload(files)


def _several(sources: Iterable[Source], count: int, most: int) -> Payload:
    if count > most:
        raise RequestError(413, f"{count:,} pictures in one request; {most:,} are the most; send fewer at once")
    return Payload(sources, count, several=True)


def _read_untyped(body: bytes, most: int) -> Payload:
    if fileformat.identify(body) is not None:
        return Payload([body])
    if body.startswith(npy.MAGIC):
        return read_npy(body, most)
    raise RequestError(
        415,
        f"the body is no known picture ({fileformat.describe(body)}) and its Content-Type does not say what it is; "
        f"say it, as `curl -H 'Content-Type: image/jpeg' --data-binary @picture.jpg` does; read are {_READ}",
    )


def _parse_json(content: bytes, most: int) -> object:
    """The document, if it cannot have more values than `most`. Raises ValueError and RequestError 413.

    Values are counted before they are built: one may take 50 times the memory of its text. Base64 holds none of the
    signs before a value, so the count passes over pictures at the speed of memory.
    Bytes are read as characters: no text outside of ASCII is of use here, and one character outside of it would make
    all others take four bytes.
    """
    found = 0
    for sign in (b",", b"[", b"{"):
        position = content.find(sign)
        while position >= 0:
            found += 1
            if found > most:
                raise RequestError(413, f"the JSON holds over {most:,} values; send pictures as base64, and fewer")
            position = content.find(sign, position + 1)
    return json.loads(content.removeprefix(_BYTE_ORDER_MARK).decode("latin-1"))


def _read_line(line: bytes) -> bytes | RequestError:
    try:
        return _json_record(_parse_json(line, MAX_VALUES))
    except RequestError as error:
        return error
    except (ValueError, RecursionError) as error:
        return RequestError(400, f'it is not JSON ({error}); a line is {{"image": "<base64>"}}')


def _json_record(value: object) -> bytes | RequestError:
    """One of several pictures: an error has its place among them."""
    try:
        return _json_picture(value)
    except RequestError as error:
        return error


def _json_picture(value: object) -> bytes:
    """A base64 text, or an object that has one as `image` or `b64`, or an object of that kind as `image`."""
    for key in ("image", "b64", "b64"):
        if isinstance(value, dict):
            value = value.get(key, value)
    if not isinstance(value, str):
        raise RequestError(400, f"the JSON holds no picture; send {_JSON_FORMS}")
    if _URL.match(value):
        raise RequestError(400, "URLs are not fetched; send the picture itself, as base64")
    if not value.isascii():
        raise RequestError(400, "the picture is not base64: it has characters outside of ASCII")
    prefix = _DATA_URL.match(value)
    try:
        return _decode_base64(value[prefix.end() if prefix else 0 :].encode("ascii"))
    except ValueError as error:
        raise RequestError(400, f"the picture is not base64: {error}") from error


def _decode_base64(text: bytes) -> bytes:
    """Raises ValueError. Most texts have no line ends, and are not copied to remove them."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return base64.b64decode(text.translate(None, _WHITESPACE), validate=True)


def _decode(source: Source, max_pixels: int) -> np.ndarray:
    """A picture file's content, or an array uint8 [H, W, 1 or 3], as RGB. Raises DataError, and an error it is."""
    if isinstance(source, RequestError):
        raise source
    if isinstance(source, bytes):
        return read_picture(source, max_pixels=max_pixels)
    height, width, channels = source.shape
    if height * width > max_pixels:
        raise PictureTooLarge(f"the array has {height} × {width} pixels, more than the {max_pixels:,} allowed")
    if height * width == 0:
        raise DataError(f"the array is empty: {height} × {width} pixels")
    return np.repeat(source, 3, axis=2) if channels == 1 else source
