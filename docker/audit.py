"""Check the packages of the image for known vulnerabilities, in an advisory database.

`make audit` runs it. pip-audit reads the lock files and queries OSV (https://osv.dev). Exit status 1: there are
vulnerabilities; 2: the query failed, so nothing is known.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).parent
# The packages that can be in the image.
LOCKS = ("build.lock", "requirements.lock", "mlflow.lock", "multi-model-server.lock")
# A package with old, well-known vulnerabilities. If a database does not know them, its result means nothing.
KNOWN = {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"}
# Accepted advisories: the id, and why it is harmless here.
ACCEPTED: dict[str, str] = {}


class DatabaseError(Exception):
    """The query of the database failed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("locks", nargs="*", type=Path, help=f"lock files; default: {', '.join(LOCKS)}")
    parser.add_argument("--osv-url", default="https://api.osv.dev/v1/query", help="the address of the database")
    arguments = parser.parse_args()
    try:
        check_database(arguments.osv_url)
    except DatabaseError as error:
        print(f"error: {error}: nothing was audited", file=sys.stderr)
        print("Try again with a network connection, or set a mirror: make audit OSV_URL=https://…", file=sys.stderr)
        return 2
    status = audit(arguments.locks or [FOLDER / name for name in LOCKS], arguments.osv_url)
    if status:
        print("`make lock UPGRADE=1` locks newer versions; docker/audit.py can accept an advisory.", file=sys.stderr)
    return status


def check_database(url: str) -> None:
    """Raises DatabaseError if the database cannot be reached, or does not know a well-known vulnerability."""
    request = urllib.request.Request(url, json.dumps(KNOWN).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            known = json.load(response).get("vulns")
    except OSError as error:
        raise DatabaseError(f"{url} cannot be reached ({error})") from error
    except ValueError as error:
        raise DatabaseError(f"the response of {url} is not in OSV's format") from error
    if not known:
        raise DatabaseError(f"{url} does not even know the old vulnerabilities of jinja2 2.4.1")


def audit(locks: list[Path], url: str) -> int:
    """Run pip-audit, which prints its findings. Returns its status; a package that it cannot check is a failure."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--strict",
        "--progress-spinner",
        "off",
        "--vulnerability-service",
        "osv",
    ]
    command += ["--osv-url", url, "--require-hashes", "--disable-pip"]
    command += [part for lock in locks for part in ("--requirement", str(lock))]
    command += [part for advisory in ACCEPTED for part in ("--ignore-vuln", advisory)]
    return min(subprocess.run(command).returncode, 1)


if __name__ == "__main__":
    sys.exit(main())
