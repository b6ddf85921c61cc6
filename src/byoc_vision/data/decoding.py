"""Reading images and masks, from files and from requests, by the same rules.

OpenCV decodes the common formats (8-bit grey and colour JPEG, PNG, WebP, BMP) at twice Pillow's speed;
Pillow reads the header of every image first, and decodes all other formats.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from byoc_vision.data import fileformat, jpeg, pillow_pixels, tiff
from byoc_vision.data.fileformat import Format
from byoc_vision.data.samples import ImageSource
from byoc_vision.errors import DataError
from byoc_vision.system.memory import is_out_of_memory

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif",
    ".npy",
})  # fmt: skip
IMAGE_KINDS = "JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC or AVIF"

MAX_PIXELS = 178_956_970  # Pillow's own limit, 512 MiB of RGB
MAX_BYTES = 2**30  # that the pixels of one image may take while it is decoded: what OpenCV takes for that limit

_ANY_SIZE = sys.maxsize  # of an image whose header alone is read
_LEAST_FRAME = 100  # a GIF's first frame must have this part of its pixels: 1 of so many
_LARGEST_PIXEL = 7  # bytes, as it is stored and as RGB


def _open_heic(file: io.BytesIO) -> ImageFile:
    from pi_heif import HeifImageFile  # a library that few images need

    image: ImageFile = HeifImageFile(file)
    return image


# `Image.open` would try every plugin, and check the size against a limit that is global to the process.
_OPENERS: dict[Format, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "HEIC": _open_heic,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_RGB_BYTES = 3  # of a pixel; twice, while it is turned upright or compared
_COEFFICIENT_BYTES = 6  # of a pixel of a progressive JPEG, which libjpeg holds as a whole
_STORED_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}  # of a pixel in Pillow; others have 4
_CODED_FRAMES = ("HEIC", "AVIF")  # whose decoders hold the frame of a video beside its pixels
_COLOUR_MODES = frozenset({"RGB", "RGBA", "P", "PA"})
_OPENCV_KINDS = frozenset({"JPEG", "PNG", "WebP", "BMP"})
_OPENCV_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class ImageTooLarge(DataError):  # noqa: N818 - named after the fault
    """The image declares more pixels than are allowed. It was not decoded."""


class Content(NamedTuple):
    """The bytes of a file. name: of the file, in messages."""

    name: str
    data: bytes


def read_content(file: ImageSource) -> Content:
    """All bytes of a file, for callers that need them in addition to the pixels. Raises DataError."""
    try:
        return Content(str(file), file.read_bytes())
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error


def read_image(source: ImageSource | Content | bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image as uint8 RGB [H, W, 3], upright: EXIF orientation is applied.

    Grey becomes three equal channels. Transparent parts become white, as on a page: the colour behind them is
    arbitrary. The upper 8 of 16 bits are kept. Floats range from 0 to 1, or to 255 if any is above 1. CMYK is
    converted without a colour profile. The first of several frames or pages is read.

    Args:
        source: a file, a range of one, or the content of either.
        max_pixels: the largest width × height that is decoded; above `MAX_PIXELS`, one image may take all memory.

    Raises:
        ImageTooLarge: the image has more pixels than `max_pixels`, or they would take more than `MAX_BYTES`.
        DataError: the image is missing, cut short, damaged, or not an image.
    """
    return decode(open_image(source, max_pixels=max_pixels))


def open_image(source: ImageSource | Content | bytes, *, max_pixels: int = MAX_PIXELS) -> OpenedImage:
    """The header of an image, for `decode`. Raises as `read_image`, which also says what the arguments are."""
    opened = _open(source, max_pixels)
    _check_bytes(opened, max_pixels)
    return opened


def decode(opened: OpenedImage) -> np.ndarray:
    """The pixels of an image, as `read_image` returns them. Raises DataError."""
    with _decoding(opened.name, opened.data, opened.kind):
        pixels = _decode_fast(opened) if opened.plain else pillow_pixels.to_rgb(_load(opened), opened.name)
        _check_end(opened, pixels if opened.plain else None)
        return upright(pixels, _orientation(opened))


def read_mask(path: ImageSource | Content, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The numbers that a mask file stores, uint8 [H, W]: grey levels, or palette indices, never palette colours.

    A 1-bit mask gives 0 and 1 (2 bits: 0–3, 4 bits: 0–15), even if viewers show black and white. 16-bit masks are
    read if all values fit into 8 bits, colour masks if red, green and blue are equal; alpha is ignored. EXIF
    orientation is applied as for images.

    Raises:
        ImageTooLarge: the mask has more pixels than `max_pixels`.
        DataError: the file is missing, cut short, damaged, has several frames, or does not hold one number per pixel.
    """
    stored = read_stored_mask(path, max_pixels=max_pixels)
    if stored.ndim == 3:
        name = path.name if isinstance(path, Content) else str(path)
        raise DataError(
            f"{name} is a colour image; save the labels as a single-channel or palette image whose pixel values are "
            "the classes, or name the colours with mask_colors"
        )
    return stored


def open_mask(path: ImageSource | Content, *, max_pixels: int = MAX_PIXELS) -> OpenedImage:
    """The header of a mask, for `read_stored_mask` and `palette_of`. Raises what `read_mask` raises."""
    return _open(path, max_pixels)


def read_stored_mask(
    path: ImageSource | Content | OpenedImage, *, max_pixels: int = MAX_PIXELS, as_colours: bool = False
) -> np.ndarray:
    """What a mask file stores: numbers as `read_mask` gives them, uint8 [H, W], or colours, uint8 RGB [H, W, 3].

    as_colours: grey in three channels and the colours of a palette are colours, too; otherwise they are numbers.
    Raises what `read_mask` raises.
    """
    opened = path if isinstance(path, OpenedImage) else open_mask(path, max_pixels=max_pixels)
    with _decoding(opened.name, opened.data, opened.kind):
        if getattr(opened.image, "is_animated", False):  # Pillow looks for a second frame after the first
            raise DataError(f"{opened.name} has several frames; a mask has one: save one file per image")
        if as_colours and opened.image.mode in _COLOUR_MODES:
            labels = pillow_pixels.to_colours(_load(opened))
        else:
            depth = fileformat.png_bit_depth(opened.data) if opened.kind == "PNG" else 8
            labels = pillow_pixels.to_labels(_load(opened), opened.name, depth)
        _check_end(opened)
        return upright(labels, _orientation(opened))


def palette_of(mask: OpenedImage) -> np.ndarray | None:
    """The colours of a PNG's or GIF's palette as 0xRRGGBB, int64 [n]; None without one."""
    palette = mask.image.getpalette() if mask.kind in ("PNG", "GIF") else None
    return None if palette is None else np.array(palette, np.int64).reshape(-1, 3) @ np.array([65536, 256, 1])


def orientation_of(source: ImageSource | Content) -> int:
    """By what EXIF turns an image, 1–8; 1 is upright. Only the header is read. Raises DataError as `read_image`."""
    content = content_of(source)
    if fileformat.is_npy(content.data):
        return 1
    if fileformat.identify(content.data) == "TIFF":  # also of bands, which Pillow does not open
        return _directory(content).orientation
    return _orientation(_open(content, _ANY_SIZE))


def _directory(content: Content) -> tiff.Directory:
    with _decoding(*content, "TIFF"):
        return tiff.read_directory(content.data)


def image_size(source: ImageSource | Content) -> tuple[int, int]:
    """Height and width of the upright image. Only the header is read. Raises DataError as `read_image`."""
    content = content_of(source)
    if fileformat.identify(content.data) == "TIFF":
        return _directory(content).upright_size
    opened = _open(content, _ANY_SIZE)
    width, height = opened.image.size
    return (width, height) if _orientation(opened) >= 5 else (height, width)


class OpenedImage(NamedTuple):
    """An image whose header was read, but not its pixels. plain: OpenCV decodes it."""

    name: str
    data: bytes
    kind: Format
    image: ImageFile
    plain: bool
    segments: jpeg.Structure | None  # of a JPEG file

    @property
    def height(self) -> int:
        return self.image.size[1]

    @property
    def width(self) -> int:
        return self.image.size[0]

    @property
    def stored_bytes(self) -> int:
        """Of a pixel as Pillow decodes it, before it becomes RGB."""
        return 8 if self.kind in _CODED_FRAMES else _STORED_BYTES.get(self.image.mode, 4)

    @property
    def bytes_per_pixel(self) -> int:
        """The most memory that decoding takes, for each pixel."""
        stored = 0 if self.plain else self.stored_bytes
        is_progressive = self.segments is not None and not self.segments.is_sequential
        return stored + 2 * _RGB_BYTES + (_COEFFICIENT_BYTES + _RGB_BYTES if is_progressive else 0)


def _open(source: ImageSource | Content | bytes, max_pixels: int) -> OpenedImage:
    name, data = content_of(source)
    kind = fileformat.identify(data)
    if kind is None and fileformat.is_npy(data):
        raise DataError(f"{name} holds an array, and others RGB images; save them alike")
    if kind is None:
        raise DataError(f"{name} is not a {IMAGE_KINDS} image: {fileformat.describe(data)}")
    with _decoding(name, data, kind):
        segments = jpeg.read_structure(data) if kind == "JPEG" else None
        tags = tiff.read_directory(data) if kind == "TIFF" else None
        image = _OPENERS[kind](io.BytesIO(data))
        plain = _is_plain(kind, data, image)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"{name} declares {width} × {height} pixels, more than the {max_pixels:,} allowed; send a smaller image"
        )
    _check_structure(name, data, kind, segments, tags)
    if kind == "GIF":
        _check_frame(name, image)
    return OpenedImage(name, data, kind, image, plain, segments)


def _check_bytes(opened: OpenedImage, max_pixels: int) -> None:
    """Raises ImageTooLarge if the pixels as they are stored, and as RGB, take too much memory together."""
    most = MAX_BYTES if max_pixels <= MAX_PIXELS else max_pixels * _LARGEST_PIXEL
    width, height = opened.image.size
    if not opened.plain and width * height * (opened.stored_bytes + _RGB_BYTES) > most:
        raise ImageTooLarge(
            f"{opened.name} declares {width} × {height} pixels of mode {opened.image.mode}, which take over "
            f"{most:,} bytes; save it as RGB with 8 bits, or send a smaller image"
        )


def _check_structure(
    name: str, data: bytes, kind: Format, segments: jpeg.Structure | None, tags: tiff.Directory | None
) -> None:
    """Raises DataError if the file declares pixels that it cannot hold."""
    if not (segments.ended if segments else fileformat.is_whole(data, kind)):
        raise _cut_short(name, data, kind)
    if segments and (missing := jpeg.missing_data(segments, data)):
        raise DataError(f"{name} is cut short: {missing}; copy it again")
    if tags is not None:
        with _decoding(name, data, kind):
            tags.check_parts()


def _check_frame(name: str, image: ImageFile) -> None:
    """Raises DataError if the first frame of a GIF fills next to nothing of the size that the file declares."""
    screen = image.size[0] * image.size[1]
    left, top, right, bottom = (image.tile[0].extents if image.tile else None) or (0, 0, 0, 0)
    frame = (right - left) * (bottom - top)
    if frame * _LEAST_FRAME < screen:
        raise DataError(
            f"{name} declares {image.size[0]} × {image.size[1]} pixels, and its first frame has {frame:,}; "
            "save that frame as an image"
        )


def content_of(source: ImageSource | Content | bytes) -> Content:
    """All bytes of a file, or of a request. Raises DataError."""
    if isinstance(source, bytes):
        return Content("the image", source)
    return source if isinstance(source, Content) else read_content(source)


def _cut_short(name: str, data: bytes, kind: Format) -> DataError:
    return DataError(f"{name} is cut short: the {kind} image has no end ({len(data):,} bytes); copy it again")


def _broken(name: str, data: bytes, kind: Format, reason: str = "") -> DataError:
    if not fileformat.is_whole(data, kind):
        return _cut_short(name, data, kind)
    reason = f" ({reason})" if reason else ""
    return DataError(f"{name} is damaged: the {kind} image cannot be decoded{reason}; copy or export it again")


@contextmanager
def _decoding(name: str, data: bytes, kind: Format) -> Iterator[None]:
    """Raises DataError for whatever a decoder raises, except for a lack of memory.

    The decoders meet bytes that their authors did not expect: a list of the types that they raise is never complete.
    """
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"{name} declares more than {MAX_PIXELS:,} pixels; send a smaller image") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _broken(name, data, kind, "" if isinstance(error, cv2.error) else str(error)) from error


def _is_plain(kind: Format, data: bytes, image: ImageFile) -> bool:
    """Whether OpenCV and Pillow agree on what the pixels mean."""
    if kind not in _OPENCV_KINDS or image.mode not in ("L", "RGB"):
        return False
    if kind == "PNG" and fileformat.png_bit_depth(data) != 8:
        return False
    return not image.has_transparency_data


def _decode_fast(opened: OpenedImage) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(opened.data, np.uint8), _OPENCV_FLAGS)
    if pixels is None:
        raise _broken(opened.name, opened.data, opened.kind)
    return pixels


def _check_end(opened: OpenedImage, pixels: np.ndarray | None = None) -> None:
    """Raises DataError if compressed pixels are missing within a JPEG. pixels: decoded, if the image is plain."""
    if pixels is not None and opened.image.mode == "L":
        pixels = pixels[..., 0]
    if opened.segments is not None and not jpeg.is_complete(opened.data, opened.segments, pixels):
        raise DataError(f"{opened.name} is cut short: some of its pixels are missing; copy it again")


def _load(opened: OpenedImage) -> Image.Image:
    declared = opened.image.size
    opened.image.load()
    if opened.image.size != declared and opened.kind != "TIFF":  # a TIFF is turned by its orientation
        raise ValueError(f"it declares {declared[0]} × {declared[1]} pixels and holds {opened.image.size}")
    return opened.image


def _orientation(opened: OpenedImage) -> int:
    """The EXIF orientation that is still to be applied, 1–8. Pillow applies it to a TIFF when it loads it."""
    if opened.kind == "TIFF":
        return 1
    block = fileformat.png_exif(opened.data) if opened.kind == "PNG" else opened.image.info.get("exif", b"")
    exif = Image.Exif()
    try:
        exif.load(block)
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1  # as browsers do: broken EXIF data do not make the image unreadable
    return orientation if orientation in range(1, 9) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and mirror [H, W(, 3)] by EXIF orientation 1–8 (EXIF 2.32, tag 274)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
