"""What `recipe=auto` chooses for a segmentation network with a pretrained encoder.

Images are seen whole, with more pixels than the default, unless a budget is too short for them: edges need them, and
what is thin or far away. Parts of images, at random scales, reached less in the same time (docs/recipes.md). Rare
classes get a weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple, Self

from byoc_vision.data.preflight.report import PreflightReport, Range
from byoc_vision.hyperparameters import Hyperparameters

Size = tuple[int, int]  # height and width
Take = Callable[[str, Any, str], Hyperparameters]
"""Choose a value of a hyperparameter, for a reason, unless the job sets it; returns all of them."""

LEAST_STEPS = 400  # of a training whose decoder begins with random weights
OBJECT_STEPS = 250  # of one that looks for one large object: then its edges alone are left, and take more pixels
SCENE_STEPS = 750  # of one that looks for several things: after them, more pixels are worth more than more steps
MOST_EPOCHS = 60
FEW_IMAGES = 1000  # of a process
SPREAD = 0.2  # of a side's lengths, as a share of the median: images with more are not of one kind
SMALL = 0.05  # of the pixels: objects that fill less are lost in a small image
EMPTY = 0.5  # of the validation images: if more show no object, most of the Dice is what is not found there
RARE = 0.02  # of the pixels: a class with fewer is hardly learnt where each pixel counts alike
DEFAULT_AREA = 256 * 256
WARM_UP = 0.1  # of the training, at most
OF_CLASSES = ("auto", "miou", "dice")  # objectives to which each class counts the same
CPU_AREA = 384 * 576  # of a whole image, at most
GPU_AREA = 640 * 960
STEPS_SHARE = 0.75  # of a budget; the rest is for the start, the evaluations and the export


class Scene(NamedTuple):
    """The images and masks of a data set, and where they are trained on.

    height, width: of the images, in pixels; None if not one was measured. shares: of each class in the pixels, None if
    not one mask was read. multiple: what both sides of the network's input are multiples of. gpu: whether it trains
    on one. decoder: whether it, too, begins with trained weights. empty: the share of the validation images without
    the second class, None if not one mask was read.
    """

    classes: int
    height: Range | None = None
    width: Range | None = None
    shares: tuple[float | None, ...] = ()
    multiple: int = 32
    gpu: bool = False
    decoder: bool = False
    empty: float | None = None

    @classmethod
    def of(cls, report: PreflightReport | None, classes: int, multiple: int, *, gpu: bool, decoder: bool) -> Self:
        if report is None:
            return cls(classes, multiple=multiple, gpu=gpu, decoder=decoder)
        shares = tuple(entry.pixel_share for entry in report.classes)
        images = report.checked.get("validation", 0)
        empty = 1 - report.classes[1].images.get("validation", 0) / images if images and classes > 1 else None
        return cls(classes, report.height, report.width, shares, multiple, gpu, decoder, empty)

    @property
    def size(self) -> Size | None:
        """What all images have, nearly; None if they differ, or are not larger than the default input."""
        if self.height is None or self.width is None:
            return None
        if any(side.maximum - side.minimum > SPREAD * side.median for side in (self.height, self.width)):
            return None
        size = self.height.median, self.width.median
        return size if math.prod(size) > DEFAULT_AREA else None

    @property
    def rarest(self) -> float | None:
        """The share of the class with the fewest pixels."""
        return min((share for share in self.shares if share), default=None)

    @property
    def is_one_object(self) -> bool:
        """Whether the masks show one kind of object on a background, and it is large."""
        share = self.shares[1] if len(self.shares) == 2 else None
        return self.classes == 2 and (share is None or share >= SMALL)


class Budgeted(NamedTuple):
    """A job that has a budget.

    seconds: of the job. seconds_an_image: measures a training step of the default size, in seconds for each image.
    begun: the hyperparameters in the job's checkpoint; None if it has none.
    """

    seconds: float
    seconds_an_image: Callable[[Hyperparameters], float]
    begun: Mapping[str, Any] | None = None


def choose_objective(scene: Scene, take: Take) -> None:
    """Dice counts an image without an object as right where none is found: mostly such images say little."""
    if scene.classes == 2 and (empty := scene.empty or 0.0) > EMPTY:
        take("objective", "miou", f"{empty:.0%} of the validation images show no object: finding none has a Dice of 1")


def choose(
    images: int,
    scene: Scene,
    settings: Hyperparameters,
    given: Collection[str],
    take: Take,
    budgeted: Budgeted | None = None,
) -> None:
    """Take what goes with such images. images: that each process trains on. given: what the job sets."""
    if images <= FEW_IMAGES and "auto_batch_size" not in given:
        few = f"there are only {images} images, and more steps of the same cost teach more"
        settings = take("batch_size", 8 if scene.gpu else 4, few)
    if scene.size is not None and not {"image_size", "crop_size", "auto_batch_size"} & set(given):
        _choose_size(images, scene, scene.size, settings, take, budgeted)
    if scene.classes > 2 and (rarest := scene.rarest or 1.0) < RARE and settings.objective in OF_CLASSES:
        take("class_weights", "sqrt", f"a class has only {rarest:.2%} of the pixels, and each class counts as much")
    if not scene.decoder:
        take("encoder_lr_factor", 0.3, "the encoder is pretrained, the decoder is not")
    _choose_length(images, scene, settings, take)


def _choose_size(
    images: int, scene: Scene, own: Size, settings: Hyperparameters, take: Take, budgeted: Budgeted | None
) -> None:
    """Of whole images. own: what they have."""
    area = GPU_AREA if scene.gpu else CPU_AREA
    reason = f"images have about {own[0]} × {own[1]} pixels, and "
    if budgeted and budgeted.begun is not None:
        if begun := budgeted.begun.get("image_size"):
            take("image_size", tuple(begun), "the job began with it")
        return
    if budgeted:
        area = min(area, area_in_time(images, scene, settings, budgeted))
        reason += f"budget={settings.budget} leaves time for enough steps of this size"
    else:
        reason += f"{'edges need' if scene.is_one_object else 'what is thin or far away needs'} more than 256"
    if area > DEFAULT_AREA:
        take("image_size", fit(own, area, scene.multiple), reason)


def area_in_time(images: int, scene: Scene, settings: Hyperparameters, budgeted: Budgeted) -> int:
    """The pixels of an image that leave time for enough steps: a step takes as many times longer as it has more."""
    enough = (OBJECT_STEPS if scene.is_one_object else SCENE_STEPS) * settings.batch_size * settings.accumulate_steps
    seen = min(max(enough, 2 * images), MOST_EPOCHS * images)
    return int(DEFAULT_AREA * STEPS_SHARE * budgeted.seconds / (seen * budgeted.seconds_an_image(settings)))


def _choose_length(images: int, scene: Scene, settings: Hyperparameters, take: Take) -> None:
    an_epoch = max(1, images // (settings.batch_size * settings.accumulate_steps))
    if settings.steps is None and settings.budget is None and not scene.decoder:
        least = OBJECT_STEPS if scene.is_one_object else LEAST_STEPS
        epochs = min(MOST_EPOCHS, max(settings.epochs, math.ceil(least / an_epoch)))
        settings = take("epochs", epochs, f"an epoch has only {an_epoch} steps")
    steps = settings.steps or settings.epochs * an_epoch
    warmup = min(0.5, round(WARM_UP * steps / an_epoch, 3))
    take("warmup_epochs", warmup, "the first steps of Adam are large, and the encoder is pretrained")


def fit(own: Size, area: int, multiple: int) -> Size:
    """The largest size with about these proportions and at most so many pixels, but not more than `own` needs.

    Both sides are multiples; among those near, the ones whose proportions are nearest.
    """
    scale = min(1.0, math.sqrt(area / math.prod(own)))
    sides = product(*(tuple(_around(length * scale, multiple)) for length in own))
    limit = max(1.02 * area, multiple * multiple)
    fitting = [(height, width) for height, width in sides if height * width <= limit]
    if not fitting:  # The image is very narrow: its short side cannot shrink below one multiple, so the long side does.
        longest = max(multiple, int(area / multiple**2) * multiple)
        return (multiple, longest) if own[0] < own[1] else (longest, multiple)
    return min(fitting, key=lambda size: abs(math.log(size[0] / size[1] * own[1] / own[0])))


def _around(length: float, multiple: int) -> Iterator[int]:
    below = max(multiple, int(length / multiple) * multiple)
    yield below
    if below < length:
        yield below + multiple
