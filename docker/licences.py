"""The licence of each package in the image, and the licences that are allowed.

docker/sbom.py uses it during the build of the image. If a package names its licence in words, WORDS has the identifier
of SPDX (https://spdx.org/licenses/). A licence that is not allowed stops the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import PackageMetadata

from license_expression import ExpressionError, LicenseExpression, LicenseWithExceptionSymbol, Licensing

UNKNOWN = "NOASSERTION"
PERMISSIVE = frozenset(
    {"0BSD", "BSD-2-Clause", "BSD-3-Clause", "LicenseRef-BSD", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "Zlib"}
    | {"Apache-2.0", "BSL-1.0", "CC0-1.0", "CNRI-Python", "PSF-2.0", "Python-2.0", "Unlicense", "ZPL-2.1"}
)
# Weak copyleft: unmodified packages, each a separate module that anyone can replace.
WEAK_COPYLEFT = frozenset(("LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0"))
ALLOWED = PERMISSIVE | WEAK_COPYLEFT


@dataclass(frozen=True)
class Exemption:
    """Packages, by a pattern of their names, that may have another licence, or state none."""

    packages: str
    licence: str
    reason: str


EXEMPTIONS = (
    Exemption(
        "nvidia-*",
        "LicenseRef-NVIDIA-Proprietary",
        "the CUDA libraries that torch loads; NVIDIA's licence lets them be passed on as a part of an application",
    ),
    Exemption(
        "cuda-toolkit",
        "LicenseRef-NVIDIA-Proprietary",
        "states no licence; it is empty and only depends on NVIDIA's other packages",
    ),
)

# What packages write instead of an identifier, in the field License, its first line, or a classifier.
WORDS = {
    "2-clause bsd license": "BSD-2-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "bsd": "LicenseRef-BSD",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "LicenseRef-BSD",
    "bsd-3": "BSD-3-Clause",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.1-or-later",
    "gnu library or lesser general public license (lgpl)": "LGPL-2.1-only",
    "historical permission notice and disclaimer (hpnd)": "HPND",
    "isc license (iscl)": "ISC",
    "lgpl": "LGPL-2.1-only",
    "lgpl-2.1": "LGPL-2.1-only",  # SPDX's older identifier
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "zope public license": "ZPL-2.1",
}
LICENSING = Licensing()


@dataclass(frozen=True)
class Package:
    """A Python package in the image; the licence is an SPDX expression, or UNKNOWN."""

    name: str
    version: str
    licence: str

    @classmethod
    def described_by(cls, metadata: PackageMetadata) -> Package:
        """The package of an installed METADATA file."""
        name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
        return cls(name, metadata["Version"], declared(metadata) or exempted(name) or UNKNOWN)


def declared(metadata: PackageMetadata) -> str | None:
    """The SPDX expression in a package's metadata, from the most exact field; None if there is none.

    Fields: https://packaging.python.org/en/latest/specifications/core-metadata/. Of several classifiers all count.
    """
    if "License-Expression" in metadata:
        return identified(metadata["License-Expression"]) or metadata["License-Expression"]
    text = metadata["License"].strip() if "License" in metadata else ""
    if found := identified(text) or identified(text.partition("\n")[0]):
        return found
    classifiers = metadata.get_all("Classifier") or []
    names = [name.rpartition(" :: ")[2] for name in classifiers if name.startswith("License :: ")]
    stated = [identified(name) or f"LicenseRef-{slug(name)}" for name in names if name != "OSI Approved"]
    if stated:
        return " AND ".join(dict.fromkeys(stated))
    return f"LicenseRef-{slug(text)}" if text else None


def identified(words: str) -> str | None:
    """The SPDX expression for the words, or the words themselves if they are an allowed expression; else None."""
    if found := WORDS.get(words.strip().lower()):
        return found
    return words.strip() if allowed(words) else None


def slug(words: str) -> str:
    """The words in the form that SPDX allows for a custom licence name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", words.strip())[:60].strip("-")


def exempted(name: str) -> str | None:
    return next((entry.licence for entry in EXEMPTIONS if fnmatch(name, entry.packages)), None)


def complaints(packages: Iterable[Package]) -> list[str]:
    """A line for each package whose licence is not allowed."""
    return [
        f"{package.name} {package.version}: "
        + ("it states no licence" if package.licence == UNKNOWN else f"{package.licence} is not allowed")
        + "; remove the package, or add an exemption with a reason to docker/licences.py"
        for package in packages
        if package.licence != exempted(package.name) and not allowed(package.licence)
    ]


def allowed(licence: str) -> bool:
    """Whether ALLOWED satisfies an SPDX expression: every part of AND, one part of OR."""
    try:
        return permits(LICENSING.parse(licence, simple=True))
    except ExpressionError:
        return False


def permits(expression: LicenseExpression | None) -> bool:
    if expression is None:
        return False
    if isinstance(expression, LICENSING.AND):
        return all(permits(part) for part in expression.args)
    if isinstance(expression, LICENSING.OR):
        return any(permits(part) for part in expression.args)
    if isinstance(expression, LicenseWithExceptionSymbol):  # an exception only ever permits more
        return permits(expression.license_symbol)
    return expression.key in ALLOWED


def table(python: Iterable[Package], debian: Iterable[tuple[str, str, str]]) -> str:
    """The text that `make sbom` extracts: name, version and licence of each package."""
    rows = [(package.name, package.version, package.licence) for package in python]
    sections = [
        ("Python packages", sorted(rows)),
        ("Debian packages, as their copyright files name them", sorted(debian)),
    ]
    return "\n".join(
        f"{title}\n\n" + "".join(f"{name:<36} {version:<28} {licence}\n" for name, version, licence in entries)
        for title, entries in sections
    )
