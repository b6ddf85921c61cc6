"""The peers' own environments, below ~/.cache/byoc-vision-benchmarks.

.venv/bin/python benchmarks/serving_install.py        installs all; a benchmark also installs the peers that it needs
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PEERS_FOLDER = Path(__file__).parent / "serving_peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "byoc-vision-benchmarks"
JAVA_SERVERS = ("torchserve", "multi_model_server")


class ServerError(Exception):
    """A server cannot be installed, does not start, or returns errors; the text says which server and why."""


def install(name: str) -> Path:
    """The Python of a peer's own environment, created on first use below CACHE. Raises ServerError.

    The environment also sees the packages of this Python, so that all peers run the same torch without a second copy.
    """
    if name in JAVA_SERVERS and shutil.which("java") is None:
        raise ServerError(f"{name} needs Java 11 or 17, and there is no `java` on the PATH")
    folder = CACHE / name
    python, done = folder / "bin/python", folder / "installed.txt"
    requirements = PEERS_FOLDER / name / "requirements.txt"
    wanted = f"{sys.prefix}\n{requirements.read_text()}"
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"installing {name} below {folder}", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)])
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # multi-model-server's setup script only works with an older setuptools, which the shared packages have.
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-build-isolation"]
    _run([*pip, "-r", str(requirements)])
    done.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-1500:]}")


if __name__ == "__main__":
    for folder in sorted(PEERS_FOLDER.glob("*/requirements.txt")):
        try:
            install(folder.parent.name)
        except ServerError as error:
            print(error, file=sys.stderr)
