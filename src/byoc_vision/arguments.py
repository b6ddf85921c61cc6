"""The command line's arguments: a parser that names the neighbour of a mistyped word, and types of values."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from byoc_vision.colours import parse_mask_colours


class Parser(argparse.ArgumentParser):
    """A parser that answers a mistyped command or option with the nearest one."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._options: set[str] = set()
        self._commands: Mapping[str, Any] | None = None
        super().__init__(*arguments, **settings)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        self._options |= {name for name in names if str(name).startswith("--")}
        return super().add_argument(*names, **settings)

    def add_subparsers(self, **settings: Any) -> Any:
        added = super().add_subparsers(**settings)
        self._commands = added.choices  # filled by each add_parser
        return added

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        if self._commands is None:
            self._check_options(given)
        elif given and not given[0].startswith("-") and given[0] not in self._commands:
            known = ", ".join(self._commands)
            self.error(f"{given[0]} is not a command; {nearest(given[0], self._commands) or f'commands: {known}'}")
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        super().error(message.replace("unrecognized arguments", "not understood"))

    def _check_options(self, given: Sequence[str]) -> None:
        for word in given:
            if word == "--":
                return
            name = word.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in self._options | {"--help"}):
                self.error(f"{name} is not an option; {nearest(name, self._options) or f'see {self.prog} --help'}")


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean train?`, or nothing if no known word is similar."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


def argument(parse: Callable[[str], object]) -> Callable[[str], object]:
    """`parse` as an argument's type: argparse shows its ValueErrors, instead of a message of its own."""

    def convert(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def positive(text: str) -> int:
    """A whole number above 0, as an argument's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


TASKS = ("auto", "segmentation", "classification")
ORIENTATIONS = ("auto", "upright", "stored")
DATA_CHOICES = ("label_column", "image_column", "label_attribute", "mask_orientation")


def data_arguments(command: argparse.ArgumentParser) -> None:
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
