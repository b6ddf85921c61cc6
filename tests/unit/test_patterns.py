"""Regular expressions that meet bytes from outside take time in proportion to their length, whatever these hold.

A pattern that goes back over what it has read holds Python's lock, and `/ping` with it: 117 bytes did so for minutes.
Two tests find such patterns in the packages that read requests, answers, data sets and archives: repeats within
repeats take exponential time and are found by their form; others are tried with texts made from their own parts.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from time import thread_time
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from werkzeug.http import parse_list_header, parse_options_header

import byoc_serve
import byoc_vision.archives
import byoc_vision.client
import byoc_vision.data
import byoc_vision.inference.options
from byoc_serve.decode import read_files
from byoc_serve.npy import view_pixels
from byoc_serve.request_options import read_options
from byoc_serve.response_format import choose_format

PACKAGES = [byoc_serve, byoc_vision.archives, byoc_vision.client, byoc_vision.data, byoc_vision.inference.options]
NOT_HERE = {"byoc_serve.multi_model.mms_service", "byoc_vision.client.sdk"}  # need what is not
AT_THE_START = {"match", "fullmatch"}
ANYWHERE = {"search", "sub", "split", "findall", "finditer"}

LENGTH = 1000
TIMES = 8
LARGEST_RATIO = 30  # 8 for linear time, 64 for quadratic
NOISE = 1e-4  # seconds that a measurement may be wrong by


def modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        yield package
        for found in pkgutil.walk_packages(getattr(package, "__path__", []), f"{package.__name__}."):
            if found.name not in NOT_HERE:
                yield importlib.import_module(found.name)


class Pattern(NamedTuple):
    """searched: whether it is looked for anywhere in a text, and not at its start alone."""

    compiled: re.Pattern[str] | re.Pattern[bytes]
    searched: bool

    @property
    def parts(self) -> Any:
        return parser.parse(self.compiled.pattern, self.compiled.flags)


def all_patterns() -> dict[str, Pattern]:
    """The patterns that modules have by name, and those in calls of `re`."""
    found: dict[str, Pattern] = {}
    for module in modules():
        source = inspect.getsource(module)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                searched = any(f"{name}.{function}(" in source for function in ANYWHERE)
                found[f"{module.__name__}.{name}"] = Pattern(value, searched)
        for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args):
            function, text = call.func, call.args[0]
            if not isinstance(function, ast.Attribute) or ast.unparse(function.value) != "re":
                continue
            if function.attr in AT_THE_START | ANYWHERE and isinstance(text, ast.Constant):
                pattern = Pattern(re.compile(text.value), function.attr in ANYWHERE)
                found[f"{module.__name__}:{call.lineno}"] = pattern
    return found


PATTERNS = all_patterns()


def nested(parts: Any, within: bool = False) -> bool:
    """Whether a repeat of any number contains another."""
    for kind, value in parts:
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
            least, most, body = value
            repeats = most != least and most > 1
            if (repeats and within) or nested(body, within or repeats):
                return True
        branches = value[1] if kind is code.BRANCH else [value[-1]] if kind is code.SUBPATTERN else []
        if any(nested(branch, within) for branch in branches):
            return True
    return False


def attacks(parts: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """A text that leads to each repeat, and what it repeats."""
    for position, (kind, value) in enumerate(parts):
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT):
            yield before, shortest(value[2]) or "a"
            yield from attacks(value[2], before)
        elif kind is code.SUBPATTERN:
            yield from attacks(value[-1], before)
        elif kind is code.BRANCH:
            for branch in value[1]:
                yield from attacks(branch, before)
        before += shortest([parts[position]])


def shortest(parts: Any) -> str:
    """A short text that matches."""
    text = ""
    for kind, value in parts:
        if kind is code.LITERAL:
            text += chr(value)
        elif kind in (code.MAX_REPEAT, code.MIN_REPEAT):
            text += shortest(value[2]) * value[0]
        elif kind is code.SUBPATTERN:
            text += shortest(value[-1])
        elif kind is code.BRANCH:
            text += shortest(value[1][0])
        elif kind is code.IN:
            text += one_of(value)
        elif kind in (code.ANY, code.NOT_LITERAL):
            text += "a"
    return text


def one_of(options: Any) -> str:
    characters = " ,;-_=.a1zA" + "".join(map(chr, range(256)))
    return next(character for character in characters if parser_matches(options, character))


def parser_matches(options: Any, character: str) -> bool:
    state = parser.State()
    state.str = ""
    found = parser.SubPattern(state, [(code.IN, options)])
    compiled = re._compiler.compile(found)  # type: ignore[attr-defined]
    return compiled.match(character) is not None


def growth(run: Callable[[int], object]) -> float:
    """How much longer it takes for a text that is `TIMES` as long, in time of this thread."""

    def fastest(length: int) -> float:
        seconds = []
        for _ in range(3):
            started = thread_time()
            run(length)
            seconds.append(thread_time() - started)
        return min(seconds) + NOISE

    return fastest(TIMES * LENGTH) / fastest(LENGTH)


def ways(pattern: Pattern, before: str, repeated: str) -> Iterator[Callable[[int], object]]:
    for end in ("", "\0", "\n", "!"):

        def text(length: int, end: str = end) -> Any:
            whole = before + repeated * (length // len(repeated)) + end
            return whole.encode("latin-1") if isinstance(pattern.compiled.pattern, bytes) else whole

        yield lambda length, text=text: pattern.compiled.fullmatch(text(length))  # type: ignore[misc]
        if pattern.searched:
            yield lambda length, text=text: pattern.compiled.findall(text(length))  # type: ignore[misc]


def test_they_are_found() -> None:
    assert {"byoc_serve.decode._DATA_URL", "byoc_vision.archives._CLUTTER"} < PATTERNS.keys()
    assert any(name.startswith("byoc_vision.data.formats.scan:") for name in PATTERNS)


@pytest.mark.parametrize("name", PATTERNS)
def test_no_repeat_of_repeats(name: str) -> None:
    assert not nested(PATTERNS[name].parts), PATTERNS[name].compiled.pattern


@pytest.mark.parametrize("name", PATTERNS)
def test_time_grows_with_the_length(name: str) -> None:
    pattern = PATTERNS[name]
    for before, repeated in attacks(pattern.parts):
        for way in ways(pattern, before, repeated):
            assert growth(way) < LARGEST_RATIO, (pattern.compiled.pattern, before, repeated)


@pytest.mark.parametrize("text", [r"(a+)+b", r"(\s*\d{1,18}\s*,?){0,8}x", r"(-*[a-z]){0,62}", r"((ab)*c?)+"])
def test_the_first_test_finds_what_it_is_for(text: str) -> None:
    assert nested(parser.parse(text))


@pytest.mark.parametrize(("text", "searched"), [(r"([0-9]+)[\s,;]+(.*\S)", False), (r"\s+x", True), (r"a*a*b", False)])
def test_the_second_test_finds_what_it_is_for(text: str, searched: bool) -> None:
    pattern = Pattern(re.compile(text), searched)
    ratios = [growth(way) for attack in attacks(pattern.parts) for way in ways(pattern, *attack)]
    assert max(ratios) > LARGEST_RATIO


PIECES = ["a", " ", ",", ";", "=", '"', "\\", "a=b;", 'a="b";', "a;q=0,", "a*0=b;", "%41", "--e", "\r\n--e"]


@pytest.mark.parametrize("piece", PIECES)
def test_headers_and_forms_are_read_in_linear_time(piece: str) -> None:
    """Other people's patterns and loops, as requests meet them."""

    def form(length: int) -> None:
        head = f'--e\r\nContent-Disposition: form-data; name="a"; filename="{piece * (length // len(piece))}"\r\n'
        for body in (head, f"{head}\r\n\r\n{piece * (length // len(piece))}\r\n--e--\r\n"):
            quietly(read_files, body.encode(), "e")

    readers: list[Callable[[str], object]] = [
        parse_list_header,
        parse_options_header,
        lambda text: quietly(choose_format, text, "segmentation"),
        lambda text: quietly(read_options, text, text),
        lambda text: quietly(view_pixels, b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()),
    ]
    for read in readers:
        assert growth(lambda length, read=read: read(piece * (length // len(piece)) + "x")) < LARGEST_RATIO  # type: ignore[misc]
    assert growth(form) < LARGEST_RATIO


def quietly(function: Callable[..., object], *arguments: object) -> None:
    """Whether it raises does not matter here."""
    try:
        function(*arguments)
    except Exception:
        return
