"""From a client's strings to validated hyperparameters."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from byoc_vision.errors import InputError, list_problems
from byoc_vision.hyperparameters.builtin import RETIRED, TRANSLATED, translate
from byoc_vision.hyperparameters.model import Hyperparameters
from byoc_vision.io import half_character, read_object
from byoc_vision.sagemaker_values import decode

logger = logging.getLogger(__name__)

# Keys that clients add: the tuner's objective, and those of the training toolkits.
_FOREIGN_PREFIXES = ("_tuning_", "sagemaker_")


def aliases() -> dict[str, str]:
    """Every name of a field → the field."""
    names = {name: name for name in Hyperparameters.model_fields}
    for name, field in Hyperparameters.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        for alias in extra["aliases"]:  # type: ignore[union-attr]
            names[str(alias)] = name
    return names


def known_names() -> set[str]:
    """Every known name: fields, their other names, and those of the built-in algorithms."""
    return {*aliases(), *TRANSLATED, *RETIRED}


def is_foreign(name: str) -> bool:
    """Whether a client added this key for its own use."""
    return name.startswith(_FOREIGN_PREFIXES)


def read(path: Path) -> Hyperparameters:
    """The hyperparameters of a job. Without a file all have their defaults, as in a plain `docker run`.

    Raises InputError with all errors at once.
    """
    return parse(read_raw(path))


def read_raw(path: Path) -> dict[str, Any]:
    """The content of the file, including the keys of clients."""
    return read_object(path, example='{"epochs": "10"}')


def parse(raw: Mapping[str, Any]) -> Hyperparameters:
    """Validated hyperparameters from raw keys and values of any client.

    Raises InputError with all errors at once: unknown names with the nearest known one, fields given under two names,
    and invalid values.
    """
    if unreadable := [key for key, value in raw.items() if half_character(f"{key}{value}")]:
        raise InputError(list_problems("Hyperparameters must be UTF-8:", list(map(ascii, unreadable))))
    given = _Given(raw)
    for key in raw:
        if not is_foreign(key):
            given.take(key)
    if "lr_scheduler_step" in given.values:
        given.values.setdefault("lr_scheduler", "step")
    problems = [*given.problems, *_exclusive(given)]
    try:
        parsed = Hyperparameters.model_validate(given.values)
    except ValidationError as error:
        problems += _describe(error, given)
    if problems:
        problems += _wrong_model(given.values)
        count = "A hyperparameter is wrong:" if len(problems) == 1 else f"{len(problems)} hyperparameters are wrong:"
        raise InputError(list_problems(count, problems))
    return parsed


class _Given:
    """The given values by field, the names under which they were given, and what is wrong."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.problems: list[str] = []
        self._fields = aliases()

    def take(self, key: str) -> None:
        if key in RETIRED:
            logger.warning("hyperparameter %s has no effect: %s", key, RETIRED[key])
            return
        value = decode(self.raw[key])
        if value is None or value == "":
            return
        try:
            name, value = translate(key, value)
        except ValueError as error:
            self.problems.append(f"{key}: {error} (given: {self.shown(key)})")
            return
        field = self._fields.get(name)
        if field is None:
            self.problems.append(_unknown(key, known_names()))
        elif field in self.values and self.values[field] != value:
            self.problems.append(
                f"{key}: is another name of {self.names[field]}, and their values differ; give one of them"
            )
        else:
            self.values[field], self.names[field] = value, key

    def shown(self, key: str) -> str:
        return repr(str(self.raw[key])[:60])


def _exclusive(given: _Given) -> list[str]:
    """Hyperparameters that say the same in two ways."""
    if not {"epochs", "steps"} <= given.values.keys():
        return []
    return [
        f"{given.names['steps']}: stands for the length of the training, as {given.names['epochs']}; give one of them"
    ]


def _unknown(key: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {nearest[0]}?" if nearest else "docs/hyperparameters.md lists all names"
    return f"{key}: is not known; {hint}"


def _describe(error: ValidationError, given: _Given) -> list[str]:
    """A line for each field; a field with several types has one message for each type."""
    messages: dict[str, list[str]] = {}
    for item in error.errors():
        field = str(item["loc"][0]) if item["loc"] else ""
        messages.setdefault(field, []).append(_in_our_words(item))
    lines = []
    for field, texts in messages.items():
        name = given.names.get(field)
        lines += [f"{name}: {_joined(texts)} (given: {given.shown(name)})"] if name else texts[0].split("\n")
    return lines


def _wrong_model(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with `model` and `encoder`, beside other mistakes.

    The names are the libraries', which take seconds to import: a job whose other hyperparameters are right checks them
    when it has looked at its data.
    """
    from byoc_vision.models.names import canonical_spec, task_of
    from byoc_vision.types import ModelSpec

    model, encoder = values.get("model", "auto"), values.get("encoder")
    if not isinstance(model, str) or not isinstance(encoder, str | None):
        return []
    if model == "auto":
        if not encoder:
            return []
        model = "unet"
    try:
        task = "segmentation" if encoder else task_of(model)
        canonical_spec(ModelSpec(task=task, architecture=model, encoder=encoder, outputs=1))
    except InputError as error:
        return [str(error)]
    return []


_MUST_BE = "must be "
_WORDS = {  # of pydantic's types of errors
    "int": f"{_MUST_BE}a whole number",
    "float": f"{_MUST_BE}a number",
    "bool": f"{_MUST_BE}true or false",
    "tuple": f"{_MUST_BE}a list, such as 1, 2",
    "string": f"{_MUST_BE}text",
}


def _in_our_words(error: ErrorDetails) -> str:
    kind, _, what = error["type"].partition("_")
    if kind in _WORDS and what in ("parsing", "type", "from_float"):
        return _WORDS[kind]
    if error["type"] == "literal_error":
        return f"{_MUST_BE}{error['ctx']['expected']}".replace("'", "")
    text = error["msg"].removeprefix("Value error, ")
    return (text[:1].lower() + text[1:]).replace("input should be ", _MUST_BE)


def _joined(texts: Sequence[str]) -> str:
    """`must be true or false, or auto` of a field with several types."""
    first, *others = dict.fromkeys(texts)
    return ", or ".join([first, *(other.removeprefix(_MUST_BE) for other in others)])
