"""Inputs that resemble good ones: bytes changed, cut out, repeated or put in, and numbers at their limits."""

from __future__ import annotations

import random
from collections.abc import Sequence

LARGEST = 2**20  # bytes
# What parsers of text and of binary formats take for limits, ends, escapes and numbers.
TOKENS = [
    *(
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b"9" * 5000,
        b"9" * 20,
        b"1e999",
        b"-1",
        b"NaN",
        b"null",
        b"true",
        b"{}",
        b"[]",
    ),
    *(b'"', b"\\", b"\\ud83d", b"\0", b"\n", b"\r\n", b",", b";", b"=", b"%00", b"../../", b"/dev/null"),
    *(b"\xff\xfe", b"\xed\xa0\x80", "é😀\u202e\u2028".encode()),
    *(b"\xff\xd9", b"\xff\xd8", b"\xff\xda", b"\xff\xd0", b"IEND", b"IDAT", b"--e", b"ustar", b"PK\1\2"),
    b"\x0a\x23\xd7\xce",  # of RecordIO
]
NUMBERS = [0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """One of the seeds with a few changes."""
    content = bytearray(chance.choice(seeds))
    for _ in range(2 ** chance.randrange(5)):
        chance.choice(_CHANGES)(content, seeds, chance)
    return bytes(content[:LARGEST])


def _span(content: bytearray, chance: random.Random) -> slice:
    start = chance.randint(0, len(content))
    return slice(start, min(len(content), start + 2 ** chance.randrange(14)))


def _flip(content: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _overwrite(content: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, len(content))
    piece = chance.randbytes(chance.randint(1, 8))
    content[at : at + len(piece)] = piece


def _number(content: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at, size = chance.randint(0, len(content)), chance.choice((1, 2, 4, 8))
    value = chance.choice(NUMBERS) % 256**size
    content[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _cut(content: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    del content[_span(content, chance)]


def _cut_end(content: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    del content[chance.randint(0, len(content)) :]


def _repeat(content: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    span = _span(content, chance)
    content[span.stop : span.stop] = content[span] * 2 ** chance.randrange(10)
    del content[LARGEST:]


def _token(content: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, len(content))
    content[at:at] = chance.choice(TOKENS)


def _splice(content: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(seeds)
    content[_span(content, chance)] = other[_span(bytearray(other), chance)]


_CHANGES = (_flip, _flip, _overwrite, _number, _number, _cut, _cut_end, _repeat, _token, _splice)
