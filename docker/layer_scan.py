"""Search every layer of an image and its history for secrets, including files that a later layer deletes.

`make scan` runs it. It reads the image as a stream from `docker save` and unpacks nothing to the disk. Exit status 1:
there are findings; each is printed with its place and only its first characters.
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
    """The pattern of a secret. It starts with the anchor, which is fast to search for; most files do not contain it."""

    name: str
    anchor: bytes
    regex: re.Pattern[bytes]

    def search(self, content: bytes) -> Iterator[bytes]:
        position = content.find(self.anchor)
        while position >= 0:
            if match := self.regex.match(content, position):
                yield match[0]
            position = content.find(self.anchor, position + 1)


def pattern(name: str, anchor: str, rest: str) -> Pattern:
    return Pattern(name, anchor.encode(), re.compile(rf"(?<![A-Za-z0-9]){re.escape(anchor)}{rest}".encode()))


# AWS's own examples end with EXAMPLE. A private key needs its base64 body: code also contains the first line.
SECRETS = (
    pattern("an AWS access key", "AKIA", r"[A-Z2-7]{16}\b(?<!EXAMPLE)"),
    pattern("a temporary AWS access key", "ASIA", r"[A-Z2-7]{16}\b(?<!EXAMPLE)"),
    pattern(
        "an AWS secret key",
        "aws_secret_access_key",
        r"\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])(?<!EXAMPLEKEY)",
    ),
    pattern(
        "a private key",
        "-----BEGIN ",
        r"[A-Z ]{0,20}PRIVATE KEY-----\s+(?:[A-Za-z-]+: .+\s+){0,3}[A-Za-z0-9+/=]{40,}",
    ),
    pattern("a GitHub token", "ghp_", r"[A-Za-z0-9]{36}\b"),
    pattern("a GitHub token", "ghs_", r"[A-Za-z0-9]{36}\b"),
    pattern("a GitHub token", "github_pat_", r"[A-Za-z0-9_]{60,}\b"),
    pattern("a GitLab token", "glpat-", r"[A-Za-z0-9_-]{20,}"),
    pattern("a Hugging Face token", "hf_", r"[A-Za-z]{34}\b"),
    pattern("a PyPI token", "pypi-AgE", r"[A-Za-z0-9_-]{50,}"),
    pattern("a Slack token", "xox", r"[abprs]-[0-9]{10,}-[A-Za-z0-9-]{10,}"),
)
# Public keys: some packages contain them for their tests, GnuTLS for its self-test.
PUBLIC = re.compile(r"/site-packages/[\w-]+/tests?/|/libgnutls\.so")
# In code and documentation, addresses with a password are examples; in settings they are real.
SETTINGS = re.compile(r"^(etc|root|home)/|(^|/)(pip\.conf|direct_url\.json|auth\.conf|[^/]+\.(list|sources))$")
PASSWORD = Pattern("an address with a password", b"://", re.compile(rb"://[^/\s:@\"']{1,80}:[^/\s@\"']{3,200}@[\w.-]+"))
ASSIGNMENT = re.compile(
    rb"(?i)\b\w*(?:password|passwd|secret|token|access_?key|api_?key)\w*=[^\s\"',]{3,}",
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
    """A layer, or one of the settings files beside the layers. Read it before the next one: they come in a stream."""

    name: str
    content: IO[bytes] | gzip.GzipFile
    is_layer: bool

    def findings(self) -> Iterator[Finding]:
        if self.is_layer:
            return layer_findings(self.content, f"layer {self.name}")
        return settings_findings(self.content.read(), f"the image's settings {self.name}")


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
    """The parts of the output of `docker save`. Layers are detected from their first bytes: names vary with Docker."""
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
    """A tar archive that is read once, as a stream. An empty stream has no members."""
    return tarfile.open(fileobj=stream, mode="r|")


def layer_findings(stream: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[Finding]:
    with archive(stream) as layer:
        for member in layer:
            path = member.name.removeprefix("./")
            place = f"{name}: /{path}"
            if FILES.search(path) and not member.isdir():
                yield Finding(place, "a file of secrets")
            file = layer.extractfile(member) if member.isfile() else None
            if file is not None and not PUBLIC.search(path):
                yield from content_findings(file, place, (*SECRETS, PASSWORD) if SETTINGS.search(path) else SECRETS)


def settings_findings(content: bytes, place: str) -> Iterator[Finding]:
    """Secrets in the environment, the labels, and the history with its arguments."""
    yield from content_findings(io.BytesIO(content), place, (*SECRETS, PASSWORD))
    for match in set(ASSIGNMENT.findall(content)):
        yield Finding(place, "a value for a secret", match[:8].decode(errors="replace"))


def content_findings(file: IO[bytes] | gzip.GzipFile, place: str, patterns: tuple[Pattern, ...]) -> Iterator[Finding]:
    """Each secret once, even if it spans two chunks."""
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
