"""Which licence a package's metadata state, and which may be in the image."""

from __future__ import annotations

import importlib
from email.message import Message
from pathlib import Path
from types import ModuleType

import pytest

DOCKER = Path(__file__).parents[3] / "docker"


@pytest.fixture
def licences(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCKER)
    return importlib.import_module("licences")


def metadata(name: str = "some_package", **fields: str | list[str]) -> Message:
    message = Message()
    message["Name"], message["Version"] = name, "1.0"
    for field, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[field.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "Apache-2.0 OR BSD-2-Clause", "License": "see LICENSE"}, "Apache-2.0 OR BSD-2-Clause"),
        ({"License_Expression": "LGPL-2.1"}, "LGPL-2.1-only"),
        ({"License": "Apache License 2.0"}, "Apache-2.0"),
        ({"License": "Apache License Version 2.0"}, "Apache-2.0"),
        ({"License": "MIT License\n\nCopyright (c) 2024"}, "MIT"),
        ({"License": "see LICENSE", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        (
            {"Classifier": ["License :: OSI Approved :: BSD License", "License :: OSI Approved :: MIT License"]},
            "LicenseRef-BSD AND MIT",
        ),
        ({"License": "Ours alone!"}, "LicenseRef-Ours-alone"),
        ({}, "NOASSERTION"),
    ],
)
def test_the_more_exact_field_counts(licences: ModuleType, fields: dict[str, str], licence: str) -> None:
    assert licences.Package.described_by(metadata(**fields)).licence == licence


@pytest.mark.parametrize(
    ("licence", "may"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR AGPL-3.0-only) AND BSD-3-Clause", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("AGPL-3.0-only", False),
        ("LicenseRef-NVIDIA-Proprietary", False),
        ("NOASSERTION", False),
        ("MIT AND", False),
        ("", False),
    ],
)
def test_what_is_allowed(licences: ModuleType, licence: str, may: bool) -> None:
    assert licences.allowed(licence) is may


def test_complaints_name_the_package_and_the_remedy(licences: ModuleType) -> None:
    packages = [
        licences.Package.described_by(one)
        for one in (
            metadata("fine", License="MIT"),
            metadata("nvidia-cublas", License_Expression="LicenseRef-NVIDIA-Proprietary"),
            metadata("nvidia-other", License="AGPL-3.0-only"),
            metadata("Albumentations.X", License_Expression="AGPL-3.0-only"),
            metadata("silent"),
        )
    ]
    first, second, third = licences.complaints(packages)
    assert first.startswith("nvidia-other 1.0: LicenseRef-AGPL-3.0-only is not allowed")
    assert second.startswith(
        "albumentations-x 1.0: AGPL-3.0-only is not allowed; remove the package, or add an exemption"
    )
    assert third.startswith("silent 1.0: it states no licence")


def test_every_exemption_has_a_reason(licences: ModuleType) -> None:
    assert all(entry.reason and not licences.allowed(entry.licence) for entry in licences.EXEMPTIONS)
