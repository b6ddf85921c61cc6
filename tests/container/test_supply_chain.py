"""What is in the image, under which licence, and that no layer holds a secret."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from support.containers import REPOSITORY, Docker

SECRET = "AKIA" + "Q3EGRLXNT7CMB5WD"


@pytest.fixture(scope="module")
def text(docker: Docker, image: str) -> str:
    return docker.output("run", "--rm", "--network", "none", image, "cat", "/opt/byoc/sbom.cdx.json")


@pytest.fixture(scope="module")
def document(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def named(document: dict[str, Any], kind: str) -> dict[str, str]:
    """Name and version of the packages of a kind: pypi, deb."""
    components = [one for one in document["components"] if one.get("purl", "").startswith(f"pkg:{kind}/")]
    return {one["name"]: one["version"] for one in components}


def test_the_list_is_cyclonedx(text: str, document: dict[str, Any]) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(json.dumps(document | {"bomFormat": "SPDX"})) is not None
    assert document["metadata"]["component"]["name"] == "byoc-vision"
    assert "serialNumber" not in document, "the same packages give the same bytes"
    assert "timestamp" not in document["metadata"]


def test_it_lists_every_package(docker: Docker, image: str, document: dict[str, Any]) -> None:
    frozen = docker.output("run", "--rm", "--network", "none", image, "pip", "list", "--format", "json")
    listed = {one["name"]: one["version"] for one in document["components"]}
    assert {one["name"]: one["version"] for one in json.loads(frozen.splitlines()[0])}.items() <= listed.items()
    show = ("dpkg-query", "--show", "--showformat=${Package} ${Version}\\n")
    installed = docker.output("run", "--rm", "--network", "none", image, *show)
    assert named(document, "deb") == dict(line.split() for line in installed.splitlines())


def test_every_package_states_its_licence(document: dict[str, Any]) -> None:
    silent = [one["name"] for one in document["components"] if not one.get("licenses")]
    assert silent == []
    assert "NOASSERTION" not in json.dumps(document)


def test_what_wrote_the_list_is_not_in_the_image(docker: Docker, image: str, document: dict[str, Any]) -> None:
    assert not {"cyclonedx-bom", "cyclonedx-python-lib"} & set(named(document, "pypi"))
    found = "find / -xdev -name 'cyclonedx*' ! -path '/proc/*' 2>/dev/null || true"
    assert docker.output("run", "--rm", "--network", "none", image, "sh", "-c", found) == ""


def test_make_sbom_brings_it_out(docker: Docker, image: str, text: str) -> None:
    name, _, tag = image.rpartition(":")
    make = ("make", "sbom", f"DOCKER={docker.client}", f"IMAGE={name}", f"TAG={tag}")
    subprocess.run(make, cwd=REPOSITORY, check=True)
    assert (REPOSITORY / "build/sbom.cdx.json").read_text(encoding="utf-8").strip() == text
    licences = (REPOSITORY / "build/licences.txt").read_text(encoding="utf-8")
    assert "Debian packages" in licences
    assert "torch " in licences


def scan(docker: Docker, image: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "docker/layer_scan.py", "--docker", docker.client, image]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    return done


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it reads all of the image, 70 s of a core
def test_no_secret_is_in_a_layer(docker: Docker, image: str) -> None:
    done = scan(docker, image)
    assert done.returncode == 0
    assert " layers, 0 findings" in done.stdout


@pytest.fixture
def careless_image(docker: Docker, tmp_path: Path) -> Iterator[str]:
    """A tiny image with a secret in its lowest layer, which the next one deletes, and another in its history."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "notes.txt").write_text(f"key {SECRET}")
    lower = tmp_path / "lower.tar"
    with tarfile.open(lower, "w") as archive:
        archive.add(context / "notes.txt", "opt/notes.txt")
    name = "byoc-careless:test"
    docker.run("import", "--change", "ENV PIP_TOKEN=s3same", lower, name)
    delete(docker, name, tmp_path)
    yield name
    docker.run("rmi", "--force", name)


def delete(docker: Docker, name: str, folder: Path) -> None:
    """Put a layer on the image that deletes opt/notes.txt, as a build's `rm` does."""
    saved = folder / "saved.tar"
    docker.run("save", "--output", saved, name)
    whiteout = io.BytesIO()
    with tarfile.open(fileobj=whiteout, mode="w") as layer:
        layer.addfile(tarfile.TarInfo("opt/.wh.notes.txt"))
    with tarfile.open(saved) as archive:
        files = {one.name: archive.extractfile(one) for one in archive if one.isfile()}
        contents = {path: file.read() for path, file in files.items() if file}
    (entry,) = manifest = json.loads(contents["manifest.json"])
    settings = json.loads(contents[entry["Config"]])
    settings["rootfs"]["diff_ids"].append(f"sha256:{sha256(whiteout.getvalue()).hexdigest()}")
    contents[entry["Config"]] = json.dumps(settings).encode()
    entry["Layers"].append("second/layer.tar")
    entry["RepoTags"] = [name]
    wanted = {path: contents[path] for path in (entry["Config"], *entry["Layers"][:-1])}
    wanted |= {"second/layer.tar": whiteout.getvalue(), "manifest.json": json.dumps(manifest).encode()}
    loaded = folder / "loaded.tar"
    with tarfile.open(loaded, "w") as archive:
        for path, content in wanted.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    docker.run("rmi", "--force", name)
    docker.run("load", "--input", loaded)


@pytest.mark.slow
def test_a_planted_secret_is_found_though_it_was_deleted(docker: Docker, careless_image: str) -> None:
    done = scan(docker, careless_image)
    assert done.returncode == 1
    assert "/opt/notes.txt: an AWS access key, AKIAQ3EG…" in done.stdout
    assert SECRET not in done.stdout
    assert "a value for a secret, PIP_TOKE…" in done.stdout
    assert ": 2 layers, " in done.stdout


@pytest.mark.slow
def test_the_size_report(docker: Docker, image: str) -> None:
    script = REPOSITORY / "docker/size_report.py"
    command = [sys.executable, script, "--docker", docker.client, image]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "| Python packages of docker/requirements.lock |" in said
    assert "| torch |" in said
    missing = subprocess.run([*command[:-1], "byoc-no-such:image"], stderr=subprocess.PIPE, text=True)
    assert missing.returncode == 1
    assert "byoc-no-such:image" in missing.stderr
