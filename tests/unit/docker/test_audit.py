"""`make audit` against a stand-in for OSV that knows what a test gives it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[3] / "docker"
OLD = ("jinja2", "2.4.1")


@contextmanager
def served(vulnerable: set[tuple[str, str]]) -> Iterator[str]:
    """The address of a database that knows these packages, by name and version, to be vulnerable."""

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked["package"]["name"]
            affected = {"package": asked["package"], "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "99"}]}]}
            advisory = {"id": f"PYSEC-{name}", "summary": "It opens the door.", "affected": [affected]}
            answer = json.dumps({"vulns": [advisory]} if (name, asked["version"]) in vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


@pytest.fixture
def database() -> Iterator[Callable[..., str]]:
    with ExitStack() as stack:
        yield lambda *vulnerable: stack.enter_context(served(set(vulnerable)))


def audit(url: str, *locks: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, DOCKER / "audit.py", "--osv-url", url, *locks]
    return subprocess.run(command, capture_output=True, text=True)


def locked(name: str) -> tuple[str, str]:
    """A package of the build tools, with its locked version."""
    lines = (DOCKER / "build.lock").read_text(encoding="utf-8").splitlines()
    (version,) = [line.split("==")[1].split()[0] for line in lines if line.startswith(f"{name}==")]
    return name, version


def test_a_vulnerable_package_is_named(database: Callable[..., str]) -> None:
    done = audit(database(OLD, locked("setuptools")), DOCKER / "build.lock")
    assert done.returncode == 1
    assert "PYSEC-setuptools" in done.stdout
    assert "PYSEC-pip" not in done.stdout
    assert "make lock UPGRADE=1" in done.stderr


def test_packages_without_known_vulnerabilities_pass(database: Callable[..., str]) -> None:
    done = audit(database(OLD, ("setuptools", "1.0")), DOCKER / "build.lock")
    assert done.returncode == 0, done.stderr
    assert "No known vulnerabilities found" in done.stderr


def test_a_database_that_cannot_be_reached_is_an_error() -> None:
    done = audit("http://127.0.0.1:9/v1/query")
    assert done.returncode == 2
    assert "http://127.0.0.1:9/v1/query cannot be reached" in done.stderr
    assert "nothing was audited" in done.stderr


def test_a_server_without_any_vulnerability_is_not_a_database(database: Callable[..., str]) -> None:
    done = audit(database())
    assert done.returncode == 2
    assert "does not even know" in done.stderr
