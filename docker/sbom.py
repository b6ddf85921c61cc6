"""List all packages in the image with their licences, as CycloneDX (https://cyclonedx.org) and as text.

docker/Dockerfile runs it in the stage whose content it lists, with a Python that has cyclonedx-bom:
    python sbom.py --environment /opt/byoc/venv --output /opt/byoc
Its exit status is 1 if a licence is not allowed. The same packages give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from licences import Package, complaints, table

OURS = "byoc-vision"
SPECIFICATION = "1.6"
DPKG_FIELDS = "${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\t${db:Status-Status}\\n"


@dataclass(frozen=True)
class DebianPackage:
    name: str
    version: str
    architecture: str
    source: str

    def licences(self, root: Path) -> list[str]:
        """The licences in /usr/share/doc/…/copyright: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

        If the file is prose, Debian's common licences that it refers to.
        """
        path = root / "usr/share/doc" / self.name / "copyright"
        if not path.exists():
            return []
        text = path.read_text(encoding="utf-8", errors="replace")
        names = re.findall(r"^License: *(\S.*?) *$", text, re.MULTILINE) if text.startswith("Format") else []
        common = [name.rstrip(".") for name in re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.-]+)", text)]
        return sorted(set(names or common)) or [f"see /usr/share/doc/{self.name}/copyright"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environment", type=Path, required=True, help="the virtual environment")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the root of the Debian system")
    parser.add_argument("--output", type=Path, required=True, help="the folder for sbom.cdx.json and licences.txt")
    arguments = parser.parse_args()
    packages = python_packages(arguments.environment)
    debian = [(package, package.licences(arguments.root)) for package in debian_packages(arguments.root)]
    document = bill_of_materials(arguments.environment, packages, debian, distribution(arguments.root))
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if fault := JsonStrictValidator(SchemaVersion.from_version(SPECIFICATION)).validate_str(text):
        print(f"error: the list is not CycloneDX {SPECIFICATION}: {fault}", file=sys.stderr)
        return 1
    (arguments.output / "sbom.cdx.json").write_text(text, encoding="utf-8")
    rows = [(package.name, package.version, ", ".join(licences) or "none stated") for package, licences in debian]
    (arguments.output / "licences.txt").write_text(table(packages.values(), rows), encoding="utf-8")
    for complaint in (found := complaints(packages.values())):
        print(f"error: {complaint}", file=sys.stderr)
    return 1 if found else 0


def python_packages(environment: Path) -> dict[str, Package]:
    """The packages of a virtual environment, by normalised name."""
    (site,) = environment.glob("lib/python3*/site-packages")
    found = (Package.described_by(one.metadata) for one in distributions(path=[str(site)]))
    return {package.name: package for package in sorted(found, key=lambda package: package.name)}


def debian_packages(root: Path) -> Iterator[DebianPackage]:
    query = ("dpkg-query", "--admindir", str(root / "var/lib/dpkg"), "--show", f"--showformat={DPKG_FIELDS}")
    for line in subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines():
        *fields, status = line.split("\t")
        if status == "installed":
            yield DebianPackage(*fields)


def distribution(root: Path) -> tuple[str, str]:
    """The distribution's name and version in the form of package URLs: ("debian", "debian-12")."""
    os_release = (root / "etc/os-release").read_text(encoding="utf-8")
    fields = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    name = fields.get("ID", "debian")
    return name, f"{name}-{fields.get('VERSION_ID', '')}".rstrip("-")


def bill_of_materials(
    environment: Path,
    packages: dict[str, Package],
    debian: list[tuple[DebianPackage, list[str]]],
    distribution: tuple[str, str],
) -> dict[str, Any]:
    """The CycloneDX document. cyclonedx-py lists the Python packages; docker/licences.py gives their licences, so that
    the document states the licences that were checked."""
    command = (sys.executable, "-m", "cyclonedx_py", "environment", str(environment), "--output-reproducible")
    options = ("--spec-version", SPECIFICATION, "--output-format", "JSON", "--output-file", "-")
    done = subprocess.run((*command, *options), check=True, stdout=subprocess.PIPE, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    for component in document["components"]:
        package = packages[re.sub(r"[-_.]+", "-", component["name"]).lower()]
        component["licenses"] = [{"expression": package.licence}]
        # Our package is installed from a temporary file, whose hash changes with each build.
        if references := component.pop("externalReferences", None):
            kept = [one for one in references if not one["url"].startswith("file:")]
            component |= {"externalReferences": kept} if kept else {}
    system = [debian_component(package, licences, distribution) for package, licences in debian]
    document["components"].extend(sorted(system, key=lambda component: str(component["bom-ref"])))
    document["dependencies"].extend({"ref": component["bom-ref"]} for component in system)
    ours = packages.get(OURS)
    image = {"bom-ref": "image", "type": "container", "name": OURS, "version": ours.version if ours else "0"}
    document["metadata"]["component"] = image | {
        "description": f"Python {platform.python_version()} on {distribution[1]}"
    }
    return document


def debian_component(package: DebianPackage, licences: list[str], distribution: tuple[str, str]) -> dict[str, Any]:
    """https://github.com/package-url/purl-spec/blob/main/types-doc/deb-definition.md"""
    namespace, release = distribution
    version = package.version.replace("+", "%2B").replace(":", "%3A")
    purl = f"pkg:deb/{namespace}/{package.name}@{version}?arch={package.architecture}&distro={release}"
    component = {
        "bom-ref": purl,
        "type": "library",
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "properties": [{"name": "debian:source", "value": package.source}],
    }
    return component | ({"licenses": [{"license": {"name": name}} for name in licences]} if licences else {})


if __name__ == "__main__":
    sys.exit(main())
