"""Secrets in images as `docker save` writes them, made here: layers are tar archives within one."""

from __future__ import annotations

import gzip
import importlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DOCKER = Path(__file__).parents[3] / "docker"
ACCESS_KEY = b"AKIA" + b"Q3EGRLXNT7CMB5WD"
PRIVATE_KEY = b"-----BEGIN RSA PRIVATE KEY-----\n" + b"MIIEowIBAAKCAQEA7bq0" * 4 + b"\n"


@pytest.fixture
def layer_scan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCKER)
    return importlib.import_module("layer_scan")


def archive(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return memory.getvalue()


@pytest.fixture
def findings(layer_scan: ModuleType) -> Callable[[dict[str, bytes]], list[str]]:
    def find(image: dict[str, bytes]) -> list[str]:
        stream = io.BytesIO(archive(image))
        return [str(finding) for part in layer_scan.image_parts(stream) for finding in part.findings()]

    return find


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "compressed"])
def test_what_a_later_layer_deletes_is_found(
    findings: Callable[[dict[str, bytes]], list[str]], pack: Callable[[bytes], bytes]
) -> None:
    lower = archive({"opt/notes.txt": b"key " + ACCESS_KEY})
    upper = archive({"opt/.wh.notes.txt": b""})
    found = findings({"1111/layer.tar": pack(lower), "2222/layer.tar": pack(upper)})
    assert found == ["layer 1111: /opt/notes.txt: an AWS access key, AKIAQ3EG…"]


@pytest.mark.parametrize(
    ("path", "content", "what"),
    [
        ("opt/key.pem", PRIVATE_KEY, "a private key"),
        ("opt/a.py", b"TOKEN = 'ghp_" + b"a1B2" * 9 + b"'", "a GitHub token"),
        ("root/.aws/credentials", b"", "a file of secrets"),
        ("root/.bash_history", b"ls", "a file of secrets"),
        ("opt/code/.git/config", b"", "a file of secrets"),
        ("etc/pip.conf", b"index-url = https://me:hunter22@pypi.example/simple", "an address with a password"),
        ("opt/s.ini", b"aws_secret_access_key = " + b"aB3/" * 10, "an AWS secret key"),
    ],
)
def test_each_kind_is_found(
    findings: Callable[[dict[str, bytes]], list[str]], path: str, content: bytes, what: str
) -> None:
    (found,) = findings({"blobs/sha256/abcdef0123456789": archive({path: content})})
    assert found.startswith(f"layer abcdef012345: /{path}: {what}")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("opt/doc.rst", b"AKIAIOSFODNN7EXAMPLE and https://user:password@host/"),
        ("opt/parse.py", b"if text.startswith('-----BEGIN PRIVATE KEY-----'):"),
        ("opt/data.bin", b"xAKIA" + b"Q3EGRLXNT7CMB5WD"),
        ("opt/venv/lib/python3.11/site-packages/gevent/tests/key.pem", PRIVATE_KEY),
        ("etc/apt/sources.list", b"deb https://deb.debian.org/debian bookworm main"),
    ],
)
def test_what_is_not_a_secret_is_left_alone(
    findings: Callable[[dict[str, bytes]], list[str]], path: str, content: bytes
) -> None:
    assert findings({"1111/layer.tar": archive({path: content})}) == []


def test_the_history_gives_its_arguments_away(findings: Callable[[dict[str, bytes]], list[str]]) -> None:
    said = (
        b'{"history": [{"created_by": "RUN |1 PIP_TOKEN=s3same /bin/sh -c pip install"}], "config": {"Env": ["A=b"]}}'
    )
    assert findings({"abc.json": said}) == ["the image's settings abc.json: a value for a secret, PIP_TOKE…"]


def test_a_secret_across_two_chunks_is_found_once(
    layer_scan: ModuleType, findings: Callable[[dict[str, bytes]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_scan, "CHUNK", 32)
    monkeypatch.setattr(layer_scan, "OVERLAP", 24)
    for before in range(40):
        assert len(findings({"1111/layer.tar": archive({"a": b" " * before + ACCESS_KEY + b" " * 80})})) == 1
