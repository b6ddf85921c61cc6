"""Ask an advisory database whether the packages of the image have known vulnerabilities.

Run by `make audit`. pip-audit reads the lock files as they are, and asks OSV (https://osv.dev). Status 1: there are
vulnerabilities, 2: the database could not be asked, so that nothing is known.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).parent
# What can be in the image.
LOCKS = ("build.lock", "requirements.lock", "mlflow.lock", "multi-model-server.lock")
# A package whose vulnerabilities are long known. A database that knows none of them says nothing about ours.
KNOWN = {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"}
# Advisories that are known and accepted: the id, and why it cannot harm.
ACCEPTED: dict[str, str] = {}


class DatabaseError(Exception):
    """The database cannot be asked."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("locks", nargs="*", type=Path, help=f"lock files; default: {', '.join(LOCKS)}")
    parser.add_argument("--osv-url", default="https://api.osv.dev/v1/query", help="where to ask")
    arguments = parser.parse_args()
    try:
        ask_for_what_is_known(arguments.osv_url)
    except DatabaseError as error:
        print(f"error: {error}: nothing was audited", file=sys.stderr)
        print("Try again where there is a network, or name a mirror: make audit OSV_URL=https://…", file=sys.stderr)
        return 2
    status = audit(arguments.locks or [FOLDER / name for name in LOCKS], arguments.osv_url)
    if status:
        print("`make lock UPGRADE=1` takes newer versions; docker/audit.py can accept an advisory.", file=sys.stderr)
    return status


def ask_for_what_is_known(url: str) -> None:
    """Tells a database that is away, or no database, from one that knows of nothing."""
    request = urllib.request.Request(url, json.dumps(KNOWN).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            known = json.load(answer).get("vulns")
    except OSError as error:
        raise DatabaseError(f"{url} cannot be reached ({error})") from error
    except ValueError as error:
        raise DatabaseError(f"{url} does not answer as OSV does") from error
    if not known:
        raise DatabaseError(f"{url} does not even know the old vulnerabilities of jinja2 2.4.1")


def audit(locks: list[Path], url: str) -> int:
    """The status of pip-audit, which prints what it finds. Strict: a package that cannot be judged is a failure."""
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
