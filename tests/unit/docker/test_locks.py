"""The lock files: whole, and in agreement with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[3] / "docker"
LOCKS = sorted(DOCKER.glob("*.lock"))
REQUIREMENT = re.compile(r"^([a-z0-9._-]+)==([^ ]+)(?: ; (.+?))? \\$")


def pinned(lock: Path) -> dict[tuple[str, str], str]:
    """Package and environment marker → version."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    found = [match.groups(default="") for line in lines if (match := REQUIREMENT.match(line))]
    return {(name, marker): version for name, version, marker in found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_line_is_a_pinned_package_or_its_hash(lock: Path) -> None:
    """So nothing names an index, a folder or a version that may move."""
    text = lock.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert all(REQUIREMENT.match(line) or re.match(r"    --hash=sha256:[0-9a-f]{64}( \\)?$", line) for line in lines)
    assert len(pinned(lock)) == len(re.findall(r"(?:\A|\n)[a-z0-9._-]+==.+\n    --hash", text))


def test_the_tests_run_what_the_image_holds() -> None:
    image, tests = pinned(DOCKER / "requirements.lock"), pinned(DOCKER / "requirements-dev.lock")
    shared = image.keys() & tests.keys()
    assert ("torch", "") in shared
    assert {package: image[package] for package in shared} == {package: tests[package] for package in shared}


def test_the_build_tools_are_the_images() -> None:
    image, tools = pinned(DOCKER / "requirements.lock"), pinned(DOCKER / "build.lock")
    assert tools
    assert tools.items() <= image.items()


def test_the_pins_are_kept() -> None:
    image = pinned(DOCKER / "requirements.lock")
    pins = re.findall(r"^(\S+)==(\S+)$", (DOCKER / "pins.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pins
    assert all(image[name, ""] == version for name, version in pins)
