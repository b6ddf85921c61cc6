"""Hyperparameters on the command line: `epochs=3`, `--epochs 3`, `--epochs=3`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from byoc_vision.arguments import nearest
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters.reading import is_foreign, known_names


def split_hyperparameters(arguments: Sequence[str], options: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Separate hyperparameters from a command's own arguments.

    Args:
        arguments: what follows the command.
        options: the command's own options, each of which takes a value, as `--output`.

    Returns:
        The command's own arguments, and the hyperparameters by name.

    Raises:
        InputError: a name is not known, or its value is missing.
    """
    rest: list[str] = []
    found: dict[str, str] = {}
    own, known = set(options), known_names()
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if option in own:
            rest += [word] if equals else [word, *_next(words)]
        elif name in known and not equals and word == name and not Path(word).exists():
            raise InputError(f"{word} has no value; write {word}=VALUE")
        elif word == "--help" or not (option.startswith("--") or (equals and name.isidentifier())):
            rest.append(word)
        elif name not in known and not is_foreign(name):
            similar = nearest(option, own) or nearest(name, known)
            raise InputError(f"{option} is not known; {similar or 'docs/hyperparameters.md lists all names'}")
        elif name in found:
            raise InputError(f"{name} is given twice; give it once")
        else:
            values = [value] if equals else _next(words)
            if not values or values[0].startswith("--"):
                raise InputError(f"{option} has no value; write {name}=VALUE")
            found[name] = values[0]
    return rest, found


def _next(words: Iterator[str]) -> list[str]:
    return [word for word in [next(words, None)] if word is not None]
