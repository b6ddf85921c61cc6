"""Look for secrets in every layer of an image, also in what a later layer has deleted, and in its history.

Run by `make scan`. The image streams through as `docker save` writes it; nothing is unpacked to the disk. With status 1
there are findings; each is named by its place and its first characters alone.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

CHUNK = 16 * 1024 * 1024  # bytes of a file that are searched together
OVERLAP = 4096  # bytes of a chunk that are searched again with the next one


@dataclass(frozen=True)
class Pattern:
    """What a secret looks like. The anchor is a part of every match: it is quick to find that it is absent."""

    name: str
    anchor: bytes
    regex: re.Pattern[bytes]

    def search(self, content: bytes) -> Iterator[bytes]:
        if self.anchor in content:
            yield from (match[0] for match in self.regex.finditer(content))


def pattern(name: str, anchor: str, regex: str) -> Pattern:
    return Pattern(name, anchor.encode(), re.compile(regex.encode()))


# AWS's own examples end with EXAMPLE. A private key is one only with its base64: code, too, names the first line.
SECRETS = (
    pattern("an AWS access key", "AKIA", r"\bAKIA[A-Z2-7]{16}\b(?<!EXAMPLE)"),
    pattern("a temporary AWS access key", "ASIA", r"\bASIA[A-Z2-7]{16}\b(?<!EXAMPLE)"),
    pattern(
        "an AWS secret key",
        "aws_secret_access_key",
        r"aws_secret_access_key\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}\b(?<!EXAMPLEKEY)",
    ),
    pattern(
        "a private key",
        "PRIVATE KEY-----",
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----\s+(?:[A-Za-z-]+: .+\s+)*[A-Za-z0-9+/=]{40,}",
    ),
    *(pattern("a GitHub token", f"gh{kind}_", rf"\bgh{kind}_[A-Za-z0-9]{{36}}\b") for kind in "opsur"),
    pattern("a GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{60,}\b"),
    pattern("a GitLab token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20,}\b"),
    pattern("a Hugging Face token", "hf_", r"\bhf_[A-Za-z]{34}\b"),
    pattern("a PyPI token", "pypi-AgE", r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    pattern("a Slack token", "xox", r"\bxox[abprs]-[0-9]{10,}-[A-Za-z0-9-]{10,}"),
)
# In code and documentation addresses with a password are examples, in settings they are not.
SETTINGS = re.compile(r"^(etc|root|home)/|(^|/)(pip\.conf|direct_url\.json|auth\.conf|[^/]+\.(list|sources))$")
PASSWORD = pattern("an address with a password", "://", r"://[^/\s:@\"']{1,80}:[^/\s@\"']{3,200}@[\w.-]+")
ASSIGNMENT = pattern(
    "a value for a secret",
    "=",
    r"(?i)\b\w*(?:password|passwd|secret|token|access_?key|api_?key)\w*=[^\s\"',]{3,}",
)
FILES = re.compile(
    r"(^|/)(\.aws/(credentials|config)|\.netrc|\.pypirc|\.npmrc|\.env|\.git-credentials|\.docker/config\.json|\.git/.*"
    r"|\.ssh/id_[a-z0-9]+|\.[a-z]+_history)$"
)


@dataclass(frozen=True)
class Finding:
    place: str
    what: str
    beginning: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}" + (f", {self.beginning}…" if self.beginning else "")


@dataclass(frozen=True)
class Part:
    """A layer, or one of the settings beside the layers. To be read before the next one: they come in a stream."""

    name: str
    content: IO[bytes] | gzip.GzipFile
    is_layer: bool

    def findings(self) -> Iterator[Finding]:
        if self.is_layer:
            return layer_findings(self.content, f"layer {self.name}")
        return content_findings(self.content, f"the image's settings {self.name}", (*SECRETS, PASSWORD, ASSIGNMENT))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image")
    parser.add_argument("--docker", default="docker", help="the docker client")
    arguments = parser.parse_args()
    layers = found = 0
    with subprocess.Popen([arguments.docker, "save", arguments.image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        for part in image_parts(saving.stdout):
            layers += part.is_layer
            for finding in part.findings():
                found += 1
                print(finding, flush=True)
    if saving.returncode or not layers:
        print(f"error: `{arguments.docker} save {arguments.image}` gave no image", file=sys.stderr)
        return 2
    print(f"{arguments.image}: {layers} layers, {found} findings")
    return 1 if found else 0


def image_parts(stream: IO[bytes]) -> Iterator[Part]:
    """What `docker save` writes. Layers are told by how they begin: their names differ with the version of Docker."""
    with archive(stream) as members:
        for member in members:
            file = members.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            content = io.BufferedReader(file)  # type: ignore[type-var]
            beginning = content.peek(512)
            name = member.name.removeprefix("blobs/sha256/").partition("/")[0][:12]
            if beginning.startswith(b"\x1f\x8b"):
                yield Part(name, gzip.GzipFile(fileobj=content), is_layer=True)
            else:
                yield Part(name, content, is_layer=beginning[257:262] == b"ustar")


def archive(stream: IO[bytes] | gzip.GzipFile) -> tarfile.TarFile:
    """A tar archive read from the front to the end, without a way back. One without a byte has no members."""
    return tarfile.open(fileobj=stream, mode="r|")


def layer_findings(stream: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[Finding]:
    with archive(stream) as layer:
        for member in layer:
            path = member.name.removeprefix("./")
            place = f"{name}: /{path}"
            if FILES.search(path) and not member.isdir():
                yield Finding(place, "a file of secrets")
            file = layer.extractfile(member) if member.isfile() else None
            if file is not None:
                yield from content_findings(file, place, (*SECRETS, PASSWORD) if SETTINGS.search(path) else SECRETS)


def content_findings(file: IO[bytes] | gzip.GzipFile, place: str, patterns: tuple[Pattern, ...]) -> Iterator[Finding]:
    """Each secret once, also where it lies across two chunks."""
    seen: set[bytes] = set()
    block = b""
    while chunk := file.read(CHUNK):
        block = block[-OVERLAP:] + chunk
        for kind in patterns:
            for secret in kind.search(block):
                if secret not in seen:
                    seen.add(secret)
                    yield Finding(place, kind.name, secret[:8].decode(errors="replace"))


if __name__ == "__main__":
    sys.exit(main())
