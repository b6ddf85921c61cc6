"""How an image of any size becomes the model's input, and how the model's output goes back.

Training, evaluation, `byoc-vision predict` and the server all use this code: the rule is stored in the artifact, so
that served predictions match the reported metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, model_validator

from byoc_vision.types import ResizeRule

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

IGNORED = 255  # the class index of pixels that no loss and no metric counts

LONGEST_SIDE = 4  # times the shorter side: of a longer image training uses only the middle

Place = tuple[float, float]  # vertical and horizontal position of a crop, as shares of the free space: 0 ≤ place < 1


class Window(NamedTuple):
    """The part of the model's input that the resized image covers, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Band(BaseModel):
    """The range of a band's values that becomes 0 to 255, found in the training images.

    mean, std: of the stretched values, 0–1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: FiniteFloat
    high: FiniteFloat
    mean: FiniteFloat = 0.5
    std: Annotated[FiniteFloat, Field(gt=0)] = 0.25

    @model_validator(mode="after")
    def _check_order(self) -> Band:
        if self.high <= self.low:
            raise ValueError(f"high is {self.high}; it must be above low, {self.low}")
        return self


class Preprocess(BaseModel):
    """The resize rule, the input size in pixels, and the normalisation, in units of 0–1 RGB.

    bands: of images that are not photographs, such as satellite images: each is stretched by its range. Empty for RGB.

    stretch: the whole image at exactly `height` × `width`, without keeping its proportions.
    letterbox: the whole image with its proportions, the rest black.
    short_side: the shorter side is resized to fit, the longer one is cropped around the centre (classification only:
    the cropped part has no prediction). If `short_side` is given, the shorter side gets that many pixels, and
    `height` × `width` are cropped from the centre, as in the evaluation of ImageNet's classifiers (256 and 224).
    per_axis: if one side shrinks and the other grows, each side has its own interpolation, so that the one that shrinks
    does not alias. False in artifacts from before there was this field: they were trained without it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: PositiveInt
    width: PositiveInt
    resize: ResizeRule = "stretch"
    short_side: PositiveInt | None = None
    per_axis: bool = False
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bands: tuple[Band, ...] = ()

    @property
    def channels(self) -> int:
        """Of the images that the model takes."""
        return len(self.bands) or 3

    @model_validator(mode="after")
    def _check_channels(self) -> Preprocess:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std must have a value for each of the {self.channels} channels")
        return self

    @model_validator(mode="after")
    def _check_short_side(self) -> Preprocess:
        if self.short_side is not None and (
            self.resize != "short_side" or self.short_side < max(self.height, self.width)
        ):
            raise ValueError("short_side requires resize=short_side and must be at least height and width")
        return self

    def image(self, rgb: np.ndarray) -> np.ndarray:
        """An image, uint8 [H, W, 3], as the model's input, uint8 [height, width, 3]."""
        rgb = self.visible(rgb)
        window = self.window(rgb.shape[0], rgb.shape[1])
        return self._place(_resize_image(rgb, window, self.per_axis), window, fill=0)

    def resize_for_crop(self, rgb: np.ndarray) -> np.ndarray:
        """The image from which training takes random crops, uint8 [h, w, 3].

        With `short_side` its shorter side has that many pixels; otherwise it is the model's input. It is resized before
        it is cropped, so that it can be cached for all epochs.
        """
        if self.short_side is None:
            return self.image(rgb)
        longest = LONGEST_SIDE * min(rgb.shape[:2])
        rgb = crop(rgb, min(rgb.shape[0], longest), min(rgb.shape[1], longest))
        height, width = (round(side * self.short_side / min(rgb.shape[:2])) for side in rgb.shape[:2])
        return _resize_image(rgb, Window(0, 0, height, width), self.per_axis)

    def mask(self, labels: np.ndarray, fill: int = 0) -> np.ndarray:
        """A mask of class indices, uint8 [H, W], resized like its image: uint8 [height, width].

        Uses nearest neighbour, since labels must not mix; `fill` is the label of the letterbox's border.
        """
        labels = self.visible(labels)
        window = self.window(labels.shape[0], labels.shape[1])
        return self._place(_resize(labels, window, cv2.INTER_NEAREST_EXACT), window, fill)

    def restore(self, planes: np.ndarray, height: int, width: int) -> np.ndarray:
        """The model's output, float32 [h, w] or [h, w, K], at the size of the original image: [height, width(, K)].

        Bilinear, as the reference implementations of the segmentation papers do with logits.
        """
        if self.resize == "short_side":
            raise ValueError("resize=short_side crops the image: the output covers only a part of it")
        window = self.window(height, width)
        inner = planes[window.top : window.top + window.height, window.left : window.left + window.width]
        if planes.ndim == 2:
            return cv2.resize(np.ascontiguousarray(inner), (width, height), interpolation=cv2.INTER_LINEAR)
        # Plane by plane: OpenCV 5 supports at most 128 channels, and masks may have 254 classes.
        resized = np.empty((height, width, planes.shape[2]), planes.dtype)
        for index in range(planes.shape[2]):
            plane = np.ascontiguousarray(inner[:, :, index])
            resized[:, :, index] = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
        return resized

    def window(self, height: int, width: int) -> Window:
        """The part of the model's input that an image of `height` × `width` covers."""
        if self.resize != "letterbox":
            return Window(0, 0, self.height, self.width)
        scale = min(self.height / height, self.width / width)
        inner_height = min(self.height, max(1, round(height * scale)))
        inner_width = min(self.width, max(1, round(width * scale)))
        return Window((self.height - inner_height) // 2, (self.width - inner_width) // 2, inner_height, inner_width)

    def visible(self, pixels: np.ndarray) -> np.ndarray:
        """The part of an image, [H, W, …], that the model sees: all of it, unless the rule is `short_side`.

        That rule crops the largest part with the model's proportions, or as `short_side` defines it. Images are cropped
        before they are resized, so that they are resized only once.
        """
        if self.resize != "short_side":
            return pixels
        height, width = pixels.shape[:2]
        if self.short_side is None:
            scale = min(height / self.height, width / self.width)
        else:
            scale = min(height, width) / self.short_side
        inner_height = min(height, max(1, round(self.height * scale)))
        inner_width = min(width, max(1, round(self.width * scale)))
        return crop(pixels, inner_height, inner_width)

    def _place(self, pixels: np.ndarray, window: Window, fill: int) -> np.ndarray:
        if (window.height, window.width) == (self.height, self.width):
            return pixels
        canvas = np.full((self.height, self.width, *pixels.shape[2:]), fill, dtype=pixels.dtype)
        canvas[window.top : window.top + window.height, window.left : window.left + window.width] = pixels
        return canvas


def stretch(pixels: np.ndarray, bands: Sequence[Band]) -> np.ndarray:
    """Values of any type, [H, W, bands], as uint8: each band's range becomes 0 to 255, what is beyond is clipped."""
    stretched = np.empty(pixels.shape, np.uint8)
    for index, band in enumerate(bands):
        scaled = (pixels[..., index].astype(np.float32) - band.low) * (255 / (band.high - band.low))
        stretched[..., index] = np.rint(np.clip(scaled, 0, 255))
    return stretched


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """An image of any number of bands, to look at: uint8 [H, W, 3], of the first three bands or the first."""
    if pixels.shape[2] == 3:
        return pixels
    return np.ascontiguousarray(pixels[..., :3] if pixels.shape[2] > 3 else np.repeat(pixels[..., :1], 3, axis=2))


def crop(pixels: np.ndarray, height: int, width: int, place: Place | None = None) -> np.ndarray:
    """A crop, [height, width, …], of [H, W, …]; by default the centre."""
    spare_height, spare_width = pixels.shape[0] - height, pixels.shape[1] - width
    if place is None:
        top, left = spare_height // 2, spare_width // 2
    else:
        top, left = int(place[0] * (spare_height + 1)), int(place[1] * (spare_width + 1))
    return pixels[top : top + height, left : left + width]


def _resize_image(rgb: np.ndarray, window: Window, per_axis: bool) -> np.ndarray:
    """Area averaging avoids aliasing if the image shrinks; if it grows, that would be nearest neighbour.

    OpenCV averages areas only if no side grows; otherwise it interpolates between two pixels in both directions.
    """
    height, width = rgb.shape[:2]
    if per_axis and (window.height - height) * (window.width - width) < 0:
        shrunk = window._replace(height=min(height, window.height), width=min(width, window.width))
        rgb = _resize(rgb, shrunk, cv2.INTER_AREA)
    shrinks = window.height < rgb.shape[0] or window.width < rgb.shape[1]
    return _resize(rgb, window, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _resize(pixels: np.ndarray, window: Window, interpolation: int) -> np.ndarray:
    if pixels.shape[:2] == (window.height, window.width):
        return pixels
    resized = cv2.resize(np.ascontiguousarray(pixels), (window.width, window.height), interpolation=interpolation)
    return with_bands(resized, pixels)


def with_bands(changed: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The result of an OpenCV function with the axis of bands, which OpenCV drops if there is one band."""
    return changed.reshape(*changed.shape[:2], *before.shape[2:])
