"""From a request's body to the images in it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, State

from byoc_serve import npy
from byoc_serve.pixel_arrays import SHAPES, find_array, parse_array, to_uint8
from byoc_serve.request import media_type_of
from byoc_vision.data import fileformat
from byoc_vision.data.bands import MOST_BANDS, BandImage, open_bands
from byoc_vision.data.decoding import Content, ImageTooLarge, OpenedImage, decode, open_image
from byoc_vision.errors import DataError, RequestError
from byoc_vision.preprocess import Band, stretch

IMAGE_TYPES = frozenset(
    f"image/{name}" for name in ("jpeg", "jpg", "png", "webp", "bmp", "x-ms-bmp", "tiff", "gif", "heic", "heif", "avif")
) | {"application/x-image"}
# Sent by clients that do not set a type; curl --data-binary sends the second.
UNTYPED = frozenset({"", "application/x-www-form-urlencoded", "application/octet-stream", "binary/octet-stream"})
JSON = "application/json"
JSON_LINES = frozenset({"application/jsonlines", "application/x-jsonlines"})

MAX_PARTS = 1024  # of a form
MAX_HEADERS = 32  # of a part; browsers send two
MAX_VALUES = 1000  # of JSON for an image: its own, and whatever else clients send with it

_SUPPORTED = (
    "image/jpeg, image/png, image/webp, image/bmp, image/tiff, image/gif, image/heic, image/avif, application/x-image, "
    "application/x-npy, multipart/form-data, application/json and application/jsonlines"
)
_JSON_FORMS = '{"image": "<base64>"} or {"instances": [{"b64": "<base64>"}, …]}'
_URL = re.compile(r"(?!data:)[a-zA-Z][a-zA-Z0-9+.-]{0,30}:/")
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
# The base64 of JPEG, PNG, GIF, WebP, TIFF, BMP, and HEIC or AVIF, as a text in quotation marks or a data: URL too.
_BASE64 = re.compile(
    rb"\s{0,8}\"?(?:data:[^,]{0,200};base64,)?(/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|Qk[0-3][A-Za-z0-9+/]{30}|AAAA..Z0eX)"
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FEW = 16
_WHITESPACE = b" \t\r\n\f\v"
_FORM_PIECE = 2**16  # bytes

Source = bytes | np.ndarray | RequestError  # an error if it is known before decoding that there is no image


class Limits(NamedTuple):
    """The most that a request may hold. lines: of JSON Lines, which do not have the limit of images."""

    images: int
    lines: int


class Undecoded(NamedTuple):
    """An image whose header was read. bytes_per_pixel: that decoding it takes, at most. where: it is, for messages."""

    image: OpenedImage | BandImage | np.ndarray
    height: int
    width: int
    bytes_per_pixel: int
    where: str = ""
    bands: Sequence[Band] = ()

    def decode(self) -> np.ndarray:
        """uint8 RGB [H, W, 3], or the model's bands. Raises RequestError 400 if it is not a complete image."""
        if isinstance(self.image, np.ndarray):
            with _naming(self.where):
                return _as_image(self.image, self.bands)
        with _naming(self.where):
            return self.image.decode() if isinstance(self.image, BandImage) else decode(self.image)


@dataclass(frozen=True)
class Payload:
    """The images of a request, not decoded yet.

    sources: read once; a bad one becomes an error when it is reached, so that a million of them take no memory.
    several: whether their format can hold several, so that the response is a list, even of one.
    unit: the name of one of them in messages.
    """

    sources: Iterable[Source]
    count: int = 1
    several: bool = False
    unit: str = "image"

    def undecoded(self, max_pixels: int, bands: Sequence[Band] = ()) -> Iterator[Undecoded | RequestError]:
        """Each with its header read, when it is asked for, so that only one is in memory.

        bands: of a model whose images are not RGB.
        Or an error in its place: RequestError 413 above `max_pixels`, 400 if its header cannot be read.
        """
        for number, source in enumerate(self.sources, start=1):
            where = f"{self.unit} {number}: " if self.count > 1 else ""
            try:
                with _naming(where):
                    yield _open(source, where, max_pixels, bands)
            except RequestError as error:
                yield error


Decoder = Callable[[bytes], Payload]


def choose_decoder(content_type: str | None, limits: Limits) -> Decoder:
    """The decoder of bodies of this Content-Type; it raises RequestError 400, and 413 above the limits.

    Raises RequestError 415, which lists the supported types.
    """
    media_type = media_type_of(content_type)
    if media_type in IMAGE_TYPES:
        return lambda body: Payload([body])
    if media_type in UNTYPED:
        return partial(_read_untyped, most=limits.images)
    if media_type == JSON:
        return partial(read_json, most=limits.images)
    if media_type in JSON_LINES:
        return partial(read_json_lines, most=limits.lines)
    if media_type == "application/x-npy":
        return partial(read_npy, most=limits.images)
    if media_type == "multipart/form-data":
        boundary = parse_options_header(content_type)[1].get("boundary", "")
        return partial(read_multipart, boundary=boundary, most=limits.images)
    raise RequestError(415, f"Content-Type: {content_type} is not supported; supported are {_SUPPORTED}")


def read_json(body: bytes, most: int) -> Payload:
    """{"image": …}, {"b64": …}, or {"instances": [{"b64": …}, …]} as in TensorFlow Serving; base64 or data: URLs.

    Or nested lists of numbers alone, as `image` or `instances`.
    """
    if (found := find_array(body)) is not None:
        text, several = found
        return _pixels(parse_array(text), most, several=several)
    try:
        document = _parse_json(body, most * MAX_VALUES)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or "instances" not in document:
        return Payload([_json_image(document)])
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, f"`instances` must be a list of images: {_JSON_FORMS}")
    return _several(map(_json_record, instances), len(instances), most)


def read_json_lines(body: bytes, most: int) -> Payload:
    """One JSON object per line, {"image": …} or {"b64": …}, as a batch transform with MULTI_RECORD sends them.

    Empty lines are skipped. A line without an image is an error in its place.
    """
    found = body.count(b"\n") + (not body.endswith(b"\n"))
    if found > most:
        raise RequestError(413, f"{found:,} lines in one request; the limit is {most:,}; send several requests")
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    if not lines:
        raise RequestError(400, 'the body has no lines; send one JSON object per line, as {"image": "<base64>"}')
    return Payload(map(_read_line, lines), len(lines), several=True, unit="record")


def read_npy(body: bytes, most: int) -> Payload:
    """uint8 or floats [H, W], [H, W, 3] or [N, H, W, 3], the last being N images."""
    try:
        array = npy.view_pixels(body)
    except ValueError as error:
        raise RequestError(400, f"{error}; send uint8 {SHAPES}") from error
    return _pixels(array, most)


def _pixels(array: np.ndarray, most: int, *, several: bool = False) -> Payload:
    """The images of an array. several: it is a list of images, grey ones if it has three dimensions."""
    shape = list(array.shape)
    if array.ndim == (3 if several else 2):
        array = array[..., None]
    if array.ndim not in ((4,) if several else (3, 4)) or array.shape[-1] > MOST_BANDS:
        expected = "a list of images, [N, H, W] or [N, H, W, 3]" if several else f"uint8 {SHAPES}"
        raise RequestError(400, f"the array's shape is {shape}; send {expected}")
    if array.ndim == 3:
        return Payload([array])
    return _several(array, len(array), most)


def read_multipart(body: bytes, boundary: str, most: int) -> Payload:
    """The file parts of a form, in their order; one file is one image, more are several."""
    try:
        files = read_files(body, boundary)
    except (ValueError, RequestEntityTooLarge) as error:
        raise RequestError(400, f"the body is not a whole form: {error}") from error
    if not files:
        raise RequestError(400, "the form has no file in it; send one, as `curl -F image=@image.jpg` does")
    return _several(files, len(files), most) if len(files) > 1 else Payload(files)


def read_files(body: bytes, boundary: str) -> list[bytes]:
    """The contents of a form's parts that have a file name, in their order. Source: RFC 7578.

    werkzeug parses the form, and builds the list of a part's headers before they can be counted. So it gets the body
    piece by piece, and a part whose head does not end soon is rejected.
    Raises ValueError, or werkzeug's RequestEntityTooLarge for too many parts.
    """
    if not boundary:
        raise ValueError("its Content-Type names no boundary")
    decoder = MultipartDecoder(boundary.encode("ascii"), max_parts=MAX_PARTS)
    files: list[list[bytes]] = []
    in_file = False
    for start in range(0, len(body) + _FORM_PIECE, _FORM_PIECE):  # and once more with nothing, which marks the end
        decoder.receive_data(body[start : start + _FORM_PIECE] or None)
        while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
            if isinstance(event, File | Field):
                if len(event.headers) > MAX_HEADERS:
                    raise ValueError(f"a part has {len(event.headers):,} headers, more than the limit of {MAX_HEADERS}")
                in_file = isinstance(event, File)
                files += [[]] if in_file else []
            elif isinstance(event, Data) and in_file:
                files[-1].append(event.data)
        if decoder.state is State.PART and len(decoder.buffer) > _FORM_PIECE:
            raise ValueError(f"the head of a part is over {_FORM_PIECE:,} bytes")
    return [b"".join(pieces) for pieces in files]


def _several(sources: Iterable[Source], count: int, most: int) -> Payload:
    if count > most:
        raise RequestError(413, f"{count:,} images in one request; the limit is {most:,}; send fewer at once")
    return Payload(sources, count, several=True)


def _read_untyped(body: bytes, most: int) -> Payload:
    if fileformat.identify(body) is not None or _BASE64.match(body):
        return Payload([body])
    if body.startswith(npy.MAGIC):
        return read_npy(body, most)
    raise RequestError(
        415,
        f"the body is not a known image ({fileformat.describe(body)}) and its Content-Type does not say what it is; "
        f"set it, as `curl -H 'Content-Type: image/jpeg' --data-binary @image.jpg` does; supported are {_SUPPORTED}",
    )


def _parse_json(content: bytes, most: int) -> object:
    """The document, if it cannot have more values than `most`. Raises ValueError and RequestError 413.

    Values are counted before they are built: one may take 50 times the memory of its text. Base64 has none of the
    characters that start a value, so the count passes over images at the speed of memory.
    Decoded as Latin-1: text outside of ASCII is not needed here, and one character outside of it would make all
    others take four bytes.
    """
    if _weigh(content) > most:
        raise RequestError(413, f"the JSON holds over {most:,} values; send images as base64, and fewer")
    return json.loads(content.removeprefix(_BYTE_ORDER_MARK).decode("latin-1"))


def _weigh(content: bytes) -> int:
    """The number of values in JSON, or more. A list or an object counts as two: deep nests take long to refuse."""
    weight = 0
    for sign, each in ((b",", 1), (b"[", 2), (b"{", 2)):
        position = -1
        for _ in range(_FEW):  # `find` is 20 times as fast as `count` over the text of an image
            position = content.find(sign, position + 1)
            if position < 0:
                break
            weight += each
        else:
            weight += each * content.count(sign, position + 1)
    return weight


def _read_line(line: bytes) -> Source:
    try:
        if (found := find_array(line)) is not None:
            return next(iter(_pixels(parse_array(found[0]), 1).sources))
        return _json_record(_parse_json(line, MAX_VALUES))
    except RequestError as error:
        return error
    except (ValueError, RecursionError) as error:
        return RequestError(400, f'it is not JSON ({error}); a line is {{"image": "<base64>"}}')


def _json_record(value: object) -> bytes | RequestError:
    """One of several images; an error takes its place."""
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
    if not value.isascii():
        raise RequestError(400, "the image is not base64: it has characters outside of ASCII")
    prefix = _DATA_URL.match(value)
    try:
        return _decode_base64(value[prefix.end() if prefix else 0 :].encode("ascii"))
    except ValueError as error:
        raise RequestError(400, f"the image is not base64: {error}") from error


def _decode_base64(text: bytes) -> bytes:
    """Raises ValueError. Most texts have no line ends, and are not copied to remove them."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return base64.b64decode(text.translate(None, _WHITESPACE), validate=True)


def _without_base64(content: bytes) -> bytes:
    """An image file that a client has encoded as base64, or as a data: URL, decoded; anything else as it is.

    Raises DataError if it begins as such a text and is not one.
    """
    found = _BASE64.match(content)
    if found is None:
        return content
    try:
        return _decode_base64(content[found.start(1) :].rstrip(_WHITESPACE + b'"'))
    except ValueError as error:
        raise DataError(f"the image is sent as base64, which cannot be decoded: {error}; send its bytes") from error


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Raises RequestError, which begins with `where`, in place of RequestError and DataError."""
    try:
        yield
    except RequestError as error:
        raise RequestError(error.status, where + error.message) from error
    except DataError as error:
        raise RequestError(413 if isinstance(error, ImageTooLarge) else 400, f"{where}{error}") from error


def _open(source: Source, where: str, max_pixels: int, bands: Sequence[Band]) -> Undecoded:
    """An image file's content, or an array [H, W, channels]. Raises DataError, or the source's error."""
    if isinstance(source, RequestError):
        raise source
    if isinstance(source, bytes):
        content = _without_base64(source)
        image: OpenedImage | BandImage = (
            open_bands(Content("the image", content), bands, max_pixels=max_pixels)
            if bands
            else open_image(content, max_pixels=max_pixels)
        )
        return Undecoded(image, image.height, image.width, image.bytes_per_pixel, where)
    height, width, channels = source.shape
    if height * width > max_pixels:
        raise ImageTooLarge(f"the array has {height} × {width} pixels, more than the {max_pixels:,} allowed")
    if height * width == 0:
        raise DataError(f"the array is empty: {height} × {width} pixels")
    if channels not in ((len(bands),) if bands else (1, 3)):
        expected = f"[H, W, {len(bands)}] or [N, H, W, {len(bands)}]" if bands else f"uint8 {SHAPES}"
        raise DataError(f"the array's shape is {list(source.shape)}; send {expected}")
    copies = 0 if source.dtype == np.uint8 and not bands else channels * (2 * source.dtype.itemsize + 1)
    return Undecoded(source, height, width, copies + (3 if channels == 1 else 0), where, bands)


def _as_image(array: np.ndarray, bands: Sequence[Band]) -> np.ndarray:
    """An array [H, W, channels] as uint8: bands stretched, or RGB. Raises RequestError 400 as `to_uint8`."""
    if bands:
        return stretch(array, bands)
    pixels = to_uint8(array)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
