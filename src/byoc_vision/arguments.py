"""The command line's arguments: a parser that names the neighbour of a mistyped word, and types of values."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

INTERRUPTED = 130  # the exit status after Ctrl-C, as shells report it


class Command(NamedTuple):
    """help: one line for `byoc-vision --help`. run: returns the exit status."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """A parser that names the nearest command or option if one is mistyped."""

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
