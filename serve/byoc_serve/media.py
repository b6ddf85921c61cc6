"""From a request's body to the images in it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from byoc_serve import npy
from byoc_vision.data import fileformat
from byoc_vision.data.decoding import ImageTooLarge, read_image
from byoc_vision.errors import DataError, RequestError

IMAGE_TYPES = frozenset(
    f"image/{name}" for name in ("jpeg", "jpg", "png", "webp", "bmp", "x-ms-bmp", "tiff", "gif")
) | {"application/x-image"}
# What clients say who do not know what they send; curl says the second of --data-binary.
UNTYPED = frozenset({"", "application/x-www-form-urlencoded", "application/octet-stream", "binary/octet-stream"})
JSON_LINES = frozenset({"application/jsonlines", "application/x-jsonlines"})

MAX_PARTS = 1024

_READ = (
    "image/jpeg, image/png, image/webp, image/bmp, image/tiff, image/gif, application/x-image, application/x-npy, "
    "multipart/form-data, application/json and application/jsonlines"
)
_JSON_FORMS = '{"image": "<base64>"} or {"instances": [{"b64": "<base64>"}, …]}'
_URL = re.compile(r"(?!data:)[a-zA-Z][a-zA-Z0-9+.-]*:/")
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")

Source = bytes | np.ndarray | RequestError  # an error where it was known early that there is no image


@dataclass(frozen=True)
class Payload:
    """The images of a request, not decoded yet.

    several: whether they came in a form that holds several, so that the answer is a list, of one at times.
    unit: what messages call one of them. limited: whether so many are refused as the queue would not take at once.
    """

    sources: Sequence[Source]
    several: bool = False
    unit: str = "image"
    limited: bool = True

    def outcomes(self, max_pixels: int) -> Iterator[np.ndarray | RequestError]:
        """Each as uint8 RGB [H, W, 3], decoded as it is asked for, so that only one lies in memory.

        Or why there is none: RequestError 413 above `max_pixels`, 400 where it is no whole image.
        """
        for number, source in enumerate(self.sources, start=1):
            where = f"{self.unit} {number}: " if len(self.sources) > 1 else ""
            try:
                yield _decode(source, max_pixels)
            except RequestError as error:
                yield RequestError(error.status, where + error.message)
            except DataError as error:
                yield RequestError(413 if isinstance(error, ImageTooLarge) else 400, f"{where}{error}")

    def images(self, max_pixels: int) -> Iterator[np.ndarray]:
        """As `outcomes`; an error is raised."""
        for outcome in self.outcomes(max_pixels):
            if isinstance(outcome, RequestError):
                raise outcome
            yield outcome


Reader = Callable[[bytes], Payload]


def choose_reader(content_type: str | None) -> Reader:
    """What turns a body of this Content-Type into its images; it raises RequestError 400 where it cannot.

    Raises RequestError 415, which lists what is read.
    """
    media_type, parameters = parse_options_header(content_type)
    media_type = media_type.strip().lower()
    if media_type in IMAGE_TYPES:
        return lambda body: Payload([body])
    if media_type in UNTYPED:
        return _read_untyped
    if media_type == "application/json":
        return read_json
    if media_type in JSON_LINES:
        return read_json_lines
    if media_type == "application/x-npy":
        return read_npy
    if media_type == "multipart/form-data":
        return lambda body: read_multipart(body, parameters.get("boundary", ""))
    raise RequestError(415, f"Content-Type: {content_type} is not read; read are {_READ}")


def is_json_lines(content_type: str | None) -> bool:
    """Whether a body of this Content-Type holds a record a line."""
    return parse_options_header(content_type)[0].strip().lower() in JSON_LINES


def read_json(body: bytes) -> Payload:
    """{"image": …}, {"b64": …}, or {"instances": [{"b64": …}, …]} as in TensorFlow Serving; base64 or data: URLs."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or "instances" not in document:
        return Payload([_json_image(document)])
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, f"`instances` must be a list of images: {_JSON_FORMS}")
    return Payload([_json_record(instance) for instance in instances], several=True)


def read_json_lines(body: bytes) -> Payload:
    """A JSON object a line, {"image": …} or {"b64": …}, as a batch transform with MULTI_RECORD sends a file's lines.

    Empty lines do not count. A line that holds no image is an error in its place.
    """
    lines = [line for line in body.splitlines() if line.strip()]
    if not lines:
        raise RequestError(400, 'the body has no lines; send a JSON object a line, as {"image": "<base64>"}')
    return Payload([_read_line(line) for line in lines], several=True, unit="record", limited=False)


def read_npy(body: bytes) -> Payload:
    """uint8 [H, W], [H, W, 3] or [N, H, W, 3], the last one being N images."""
    try:
        array = npy.view_uint8(body)
    except ValueError as error:
        raise RequestError(400, f"{error}; send uint8 [H, W], [H, W, 3] or [N, H, W, 3]") from error
    shape = list(array.shape)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim not in (3, 4) or array.shape[-1] not in (1, 3):
        raise RequestError(400, f"the array's shape is {shape}; send uint8 [H, W], [H, W, 3] or [N, H, W, 3]")
    return Payload(list(array), several=True) if array.ndim == 4 else Payload([array])


def read_multipart(body: bytes, boundary: str) -> Payload:
    """The file parts of a form, in their order; one file is one image, more are several."""
    files: list[bytes] = []
    try:
        _collect_files(body, boundary.encode("ascii"), files)
    except (ValueError, RequestEntityTooLarge) as error:
        raise RequestError(400, f"the body is not a whole form of {MAX_PARTS} parts at most: {error}") from error
    if not files:
        raise RequestError(400, "the form has no file in it; send one, as `curl -F image=@image.jpg` does")
    return Payload(files, several=len(files) > 1)


def _read_untyped(body: bytes) -> Payload:
    if fileformat.identify(body) is not None:
        return Payload([body])
    if body.startswith(npy.MAGIC):
        return read_npy(body)
    raise RequestError(
        415,
        f"the body is no known image ({fileformat.describe(body)}) and its Content-Type does not say what it is; "
        f"say it, as `curl -H 'Content-Type: image/jpeg' --data-binary @image.jpg` does; read are {_READ}",
    )


def _read_line(line: bytes) -> bytes | RequestError:
    try:
        return _json_record(json.loads(line))
    except (ValueError, RecursionError) as error:
        return RequestError(400, f'it is not JSON ({error}); a line is {{"image": "<base64>"}}')


def _json_record(value: object) -> bytes | RequestError:
    """One of several images: an error has its place among them."""
    try:
        return _json_image(value)
    except RequestError as error:
        return error


def _json_image(value: object) -> bytes:
    """A base64 text, or an object that has one as `image` or `b64`, or an object of that kind as `image`."""
    for key in ("image", "b64", "b64"):
        if isinstance(value, dict):
            value = value.get(key, value)
    if not isinstance(value, str):
        raise RequestError(400, f"the JSON holds no image; send {_JSON_FORMS}")
    if _URL.match(value):
        raise RequestError(400, "URLs are not fetched; send the image itself, as base64")
    prefix = _DATA_URL.match(value)
    try:
        return base64.b64decode("".join(value[prefix.end() if prefix else 0 :].split()), validate=True)
    except ValueError as error:
        raise RequestError(400, f"the image is not base64: {error}") from error


def _collect_files(body: bytes, boundary: bytes, files: list[bytes]) -> None:
    if not boundary:
        raise ValueError("its Content-Type names no boundary")
    decoder = MultipartDecoder(boundary, max_parts=MAX_PARTS)
    decoder.receive_data(body)
    decoder.receive_data(None)
    in_file = False
    while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
        if isinstance(event, File | Field):
            in_file = isinstance(event, File)
        elif isinstance(event, Data) and in_file:
            files.append(event.data)


def _decode(source: Source, max_pixels: int) -> np.ndarray:
    """An image file's content, or an array uint8 [H, W, 1 or 3], as RGB. Raises DataError, and an error it is."""
    if isinstance(source, RequestError):
        raise source
    if isinstance(source, bytes):
        return read_image(source, max_pixels=max_pixels)
    height, width, channels = source.shape
    if height * width > max_pixels:
        raise ImageTooLarge(f"the array has {height} × {width} pixels, more than the {max_pixels:,} allowed")
    if height * width == 0:
        raise DataError(f"the array is empty: {height} × {width} pixels")
    return np.repeat(source, 3, axis=2) if channels == 1 else source
