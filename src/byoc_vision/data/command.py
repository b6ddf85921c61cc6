"""The commands about data: `byoc-vision prepare`, `check`, `tile` and `sample-data`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byoc_vision.arguments import INTERRUPTED, Command, positive
from byoc_vision.colours import parse_mask_colours

if TYPE_CHECKING:
    from byoc_vision.data.samples import DataOptions

# Commands import what they need when they run, so that `--help` is fast.

TASKS = ("auto", "segmentation", "classification")
ORIENTATIONS = ("auto", "upright", "stored")
DATA_CHOICES = ("label_column", "image_column", "label_attribute", "mask_orientation")

logger = logging.getLogger(__name__)


def _prepare_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("layout", metavar="LAYOUT", help="carvana, oxford_pets, …, a name of data_layout; or auto")
    source = "a folder or an archive (zip, tar, tar.gz, …); may be repeated"
    command.add_argument("--source", type=Path, required=True, action="append", metavar="PATH", help=source)
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    _data_arguments(command)
    validation = "of the training images, if there are no validation images (default: the layout's usual share)"
    command.add_argument("--validation-split", type=float, metavar="SHARE", help=validation)
    test = "of the training images (default: none but the data's own)"
    command.add_argument("--test-split", type=float, metavar="SHARE", help=test)
    command.add_argument("--seed", type=int, default=42, help="of the splits (default: 42, as for train)")
    command.add_argument("--min-class-count", type=int, metavar="COUNT", help="leave out classes with fewer images")


def prepare(options: argparse.Namespace) -> int:
    from byoc_vision.data.prepare import prepare as write_channels

    names = ("validation_split", "seed", "min_class_count")
    data_options = _data_options(options, **{name: getattr(options, name) for name in names})
    try:
        write_channels(options.source, options.output, data_options, test_split=options.test_split)
    except KeyboardInterrupt:
        logger.error("Interrupted; %s was not written", options.output)
        return INTERRUPTED
    return 0


def _check_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", type=Path, metavar="DIR", help="images, a folder of channels, or a job")
    command.add_argument("--layout", default="auto", help="a name of data_layout (default: detected from the data)")
    _data_arguments(command)
    command.add_argument("--pictures", type=positive, metavar="COUNT", help="read so many (default: all up to 20,000)")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")


def check(options: argparse.Namespace) -> int:
    from byoc_vision.data.formats.channels import channels_in
    from byoc_vision.data.preflight import find_and_check, log_or_raise

    data_options = _data_options(options, checked_pictures=options.pictures)
    checked = find_and_check(channels_in(options.data.absolute()), data_options, report_file=options.json)
    log_or_raise(checked.report)
    return 0


def _data_arguments(command: argparse.ArgumentParser) -> None:
    """What a user may say about data, as the hyperparameters of the same names."""
    command.add_argument("--task", choices=TASKS, default="auto")
    command.add_argument("--num-classes", type=int, metavar="COUNT", help="default: detected from the data")
    command.add_argument("--ignore-index", type=int, metavar="VALUE", help="the pixel value that is not counted")
    command.add_argument(
        "--mask-colors",
        type=_mask_colors,
        default=(),
        metavar="NAME=#RRGGBB,…",
        help="the classes of masks in colours (default: from files beside them, or all colours)",
    )
    command.add_argument("--trimap-border", choices=("ignore", "class"), default="ignore")
    command.add_argument("--on-bad-sample", choices=("fail", "skip"), default="fail")
    choice_arguments(command)


def _mask_colors(text: str) -> tuple[tuple[str, int], ...]:
    try:
        return parse_mask_colours(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def choice_arguments(command: argparse.ArgumentParser) -> None:
    """What chooses between columns of a table, attributes of a manifest, or readings of masks."""
    command.add_argument("--mask-orientation", choices=ORIENTATIONS, default="auto", help="of images that EXIF turns")
    for name in DATA_CHOICES[:-1]:
        command.add_argument(f"--{name.replace('_', '-')}", metavar="NAME", help=f"as the hyperparameter {name}")


def _data_options(options: argparse.Namespace, **more: Any) -> DataOptions:
    from byoc_vision.data.samples import DataOptions

    names = ("task", "layout", "num_classes", "ignore_index", "mask_colors", "trimap_border", "on_bad_sample")
    return DataOptions(**{name: getattr(options, name) for name in (*names, *DATA_CHOICES)}, **more)


def _sample_data_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", type=Path, required=True, metavar="DIR")
    command.add_argument("--seed", type=int, default=0)


def sample_data(options: argparse.Namespace) -> int:
    from byoc_vision.data.sample_data import make_sample_data

    make_sample_data(options.output, seed=options.seed)
    logger.info("Wrote %s", options.output)
    return 0


def _tile_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", type=Path, metavar="DIR", help="images and masks, as for `check`")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    command.add_argument("--size", type=positive, default=1024, metavar="PIXELS", help="of a tile (default: 1024)")
    overlap = "of neighbouring tiles, at the least (default: an eighth of --size)"
    command.add_argument("--overlap", type=int, metavar="PIXELS", help=overlap)
    command.add_argument("--keep-empty", action="store_true", help="also training tiles that show no object")
    command.add_argument("--layout", default="auto", help="a name of data_layout (default: detected from the data)")
    _data_arguments(command)


def tile(options: argparse.Namespace) -> int:
    from byoc_vision.data.formats.channels import channels_in
    from byoc_vision.data.tile import TileOptions
    from byoc_vision.data.tile import tile as write_tiles

    overlap = options.size // 8 if options.overlap is None else options.overlap
    channels = channels_in(options.data.absolute())
    write_tiles(
        channels, options.output, _data_options(options), TileOptions(options.size, overlap, options.keep_empty)
    )
    return 0


DATA_COMMANDS = {
    "prepare": Command("write a data set as channels to train on, from its archives", _prepare_arguments, prepare),
    "sample-data": Command("draw a small image set with exact masks, and one of class folders",
                           _sample_data_arguments, sample_data),
    "tile": Command("cut large images and their masks into overlapping tiles to train on", _tile_arguments, tile),
    "check": Command("read all images and masks, more than a job does before it trains, and report problems",
                     _check_arguments, check),
}  # fmt: skip
