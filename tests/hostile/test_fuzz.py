"""Every parser that meets bytes from outside, on inputs that resemble good ones.

It returns, or raises its own clear error, in bounded time and memory of this process. `make fuzz` runs for ten minutes,
FUZZ_SECONDS=… sets another time. An input that fails is written to `tests/hostile/seeds/`, and all inputs there are
tried first, every time: keep the file with the correction.
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
import time
from pathlib import Path

import pytest
from support.mutation import mutated
from support.parsers import Parser, parsers

pytestmark = [pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]  # Pillow and NumPy warn of odd inputs

SEEDS = Path(__file__).with_name("seeds")
SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
CPU_SECONDS = 4.0  # of this process, that an input may take
MEMORY = 400 * 10**6  # bytes beyond those before it

PARSERS = parsers(Path(tempfile.mkdtemp(prefix="byoc-fuzz-")))


@pytest.mark.parametrize("name", PARSERS)
def test_good_inputs_are_read(name: str, tmp_path: Path) -> None:
    for number, seed in enumerate(PARSERS[name].seeds):
        folder = tmp_path / str(number)
        folder.mkdir()
        PARSERS[name].call(seed, folder)


@pytest.mark.parametrize("kept", sorted(SEEDS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_inputs_that_failed_once(kept: Path) -> None:
    assert problem(PARSERS[kept.parent.name], kept.read_bytes()) is None


@pytest.mark.parametrize("name", PARSERS)
def test_inputs_that_resemble_good_ones(name: str) -> None:
    parser = PARSERS[name]
    number = int.from_bytes(os.urandom(4), "little")
    chance = random.Random(number)
    end = time.monotonic() + SECONDS / len(PARSERS)
    tried = 0
    while time.monotonic() < end:
        content = mutated(parser.seeds, chance)
        tried += 1
        if found := problem(parser, content):
            path = SEEDS / name / hashlib.sha256(content).hexdigest()[:16]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            pytest.fail(f"{found}\n{path} keeps the input ({tried} were tried)")
    print(f"{name}: {tried:,} inputs")


def problem(parser: Parser, content: bytes) -> str | None:
    """What a parser does wrong with an input; None if it reads it or refuses it clearly."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak of its memory begins here: proc(5)
    before, started = _memory("VmRSS"), time.process_time()
    with tempfile.TemporaryDirectory(prefix="byoc-fuzz-") as folder:
        try:
            parser.call(content, Path(folder))
        except parser.refusals as error:
            if not str(error).strip():
                return f"{type(error).__name__} says nothing"
        except Exception as error:  # an internal error, which is what is looked for
            return f"{type(error).__name__}: {str(error)[:300]}"
    seconds, grown = time.process_time() - started, _memory("VmHWM") - before
    if seconds > CPU_SECONDS:
        return f"it took {seconds:.1f} s of processor time"
    return f"it took {grown / 1e6:.0f} MB" if grown > MEMORY else None


def _memory(name: str) -> int:
    """Bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
