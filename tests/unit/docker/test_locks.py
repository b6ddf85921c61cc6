"""The lock files: whole, and in agreement with each other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def asked(lines: list[str]) -> list[Requirement]:
    """Requirements, a line each, without the comments."""
    return [Requirement(bare) for line in lines if (bare := line.partition("#")[0].strip())]


def inputs() -> Iterator[tuple[str, list[Requirement]]]:
    """Each lock with what `make lock` makes it from."""
    for path in sorted(DOCKER.glob("*.in")):
        yield f"{path.stem}.lock", asked(path.read_text(encoding="utf-8").splitlines())
    project = tomllib.loads((DOCKER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    needed, optional = project["project"]["dependencies"], project["project"]["optional-dependencies"]
    yield "requirements.lock", asked([*needed, *optional["image"], *optional["export"]])
    yield "requirements-dev.lock", asked([*needed, *optional["export"], *project["dependency-groups"]["dev"]])


def unmet(requirement: Requirement, pins: dict[tuple[str, str], str]) -> bool:
    versions = [pin for (name, _), pin in pins.items() if name == canonicalize_name(requirement.name)]
    return not versions or any(pin not in requirement.specifier for pin in versions)


@pytest.mark.parametrize(
    ("lock", "requirements"), list(inputs()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_lock_meets_what_is_asked_for(lock: str, requirements: list[Requirement]) -> None:
    pins = pinned(DOCKER / lock)
    missing = [str(requirement) for requirement in requirements if unmet(requirement, pins)]
    assert requirements
    assert missing == [], "`make lock` takes up what pyproject.toml and docker/*.in ask for"


def test_a_pin_that_is_too_old_or_missing_is_seen() -> None:
    pins = {("numpy", ""): "1.26.0"}
    assert [unmet(Requirement(text), pins) for text in ("numpy>=2", "scipy", "numpy")] == [True, True, False]


def test_every_lock_has_its_input() -> None:
    assert {path.name for path in LOCKS} == {lock for lock, _ in inputs()}


def test_torchvision_takes_the_torch_that_is_pinned() -> None:
    """The installed torchvision says which torch it is for; it is the one of the lock."""
    pins = pinned(DOCKER / "requirements.lock")
    (torch,) = [one for one in map(Requirement, requires("torchvision") or []) if one.name == "torch"]
    assert version("torchvision").partition("+")[0] == pins["torchvision", ""]
    assert torch.specifier
    assert pins["torch", ""] in torch.specifier


def test_what_is_left_out_is_in_no_lock_of_the_image() -> None:
    left_out = asked((DOCKER / "left-out.txt").read_text(encoding="utf-8").splitlines())
    assert left_out
    names = {name for name, _ in pinned(DOCKER / "requirements.lock")}
    assert not names & {canonicalize_name(one.name) for one in left_out}
