"""The CUDA compat step, run by the shell that runs it in the image, on made-up driver files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from byoc_vision.system.gpus import COMPAT_FOLDER

CONTAINER = Path(__file__).parents[3] / "container"
PROPRIETARY = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Sun May 12 19:39:15 UTC 2024
GCC version:  gcc version 7.3.1 20180712 (Red Hat 7.3.1-17) (GCC)
"""
OPEN = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build  (dvs-builder@U22-I3-B12-03-2)  \
Sun Jul 27 06:34:29 UTC 2025
GCC version:  gcc version 11.5.0 20240719 (Red Hat 11.5.0-5) (GCC)
"""


class Host:
    """A machine as the step sees it: the driver that the kernel tells of, and the compat library in the image."""

    def __init__(self, folder: Path) -> None:
        self.compat = folder / "compat folder"
        self.driver_file = folder / "version"

    def set_driver(self, text: str) -> None:
        self.driver_file.write_text(text)

    def install_compat(self, version: str) -> None:
        self.compat.mkdir(exist_ok=True)
        (self.compat / f"libcuda.so.{version}").touch()
        for name in ("libcuda.so", "libcuda.so.1"):
            (self.compat / name).symlink_to(f"libcuda.so.{version}")

    def run(self, command: str = 'printf %s "$LD_LIBRARY_PATH"', **environment: str) -> tuple[str, str]:
        """What the command prints after the step has been sourced, and what the step says."""
        done = subprocess.run(
            ["sh", "-euc", f'. "$STEP"\n{command}'],
            env={
                "PATH": "/usr/bin:/bin",
                "STEP": str(CONTAINER / "cuda_compat.sh"),
                "LD_LIBRARY_PATH": "",
                "BYOC_CUDA_COMPAT_DIR": str(self.compat),
                "BYOC_NVIDIA_VERSION_FILE": str(self.driver_file),
                **environment,
            },
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout, done.stderr


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """No driver yet; the compat library of CUDA 13.2."""
    host = Host(tmp_path)
    host.install_compat("595.58.03")
    return host


@pytest.mark.parametrize("form", [PROPRIETARY, OPEN])
@pytest.mark.parametrize("version", ["535.54", "535.183.01", "550.163.01", "575.57.08"])
def test_an_old_driver_gets_the_compat_library(host: Host, form: str, version: str) -> None:
    host.set_driver(form.format(version=version))
    path, said = host.run()
    assert path == str(host.compat)
    assert version in said
    assert "595.58.03" in said


@pytest.mark.parametrize("form", [PROPRIETARY, OPEN])
@pytest.mark.parametrize("version", ["580.65.06", "595.45.04", "595.58.03", "595.100", "600.10.01", "1000.1"])
def test_a_driver_that_suffices_is_left_alone(host: Host, form: str, version: str) -> None:
    host.set_driver(form.format(version=version))
    assert host.run() == ("", "")


@pytest.mark.parametrize(("version", "used"), [("580.65.06", True), ("595.58.2", True), ("595.58.03", False)])
def test_on_uses_it_wherever_the_driver_is_older(host: Host, version: str, used: bool) -> None:
    host.set_driver(OPEN.format(version=version))
    assert host.run(BYOC_CUDA_COMPAT="on")[0] == (str(host.compat) if used else "")


def test_off_never_uses_it(host: Host) -> None:
    host.set_driver(PROPRIETARY.format(version="535.183.01"))
    assert host.run(BYOC_CUDA_COMPAT="off") == ("", "")


def test_a_compat_library_older_than_the_driver_is_not_used(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.install_compat("535.54.03")
    host.set_driver(PROPRIETARY.format(version="550.163.01"))
    assert host.run() == ("", "")


def test_no_driver(host: Host) -> None:
    assert host.run() == ("", "")


def test_no_compat_library(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.set_driver(PROPRIETARY.format(version="535.183.01"))
    assert host.run() == ("", "")
    host.compat.mkdir()
    assert host.run() == ("", "")


def test_container_toolkits_do_not_find_the_library_by_themselves() -> None:
    """They look in /usr/local/cuda/compat; a GeForce with a driver that is new enough would get error 804 by it."""
    folder = "/opt/byoc/cuda-compat"
    assert folder == COMPAT_FOLDER
    assert f"BYOC_CUDA_COMPAT_DIR:-{folder}}}" in (CONTAINER / "cuda_compat.sh").read_text()
    dockerfile = (CONTAINER.parent / "docker" / "Dockerfile").read_text()
    assert f"COPY --from=compat /compat {folder}\n" in dockerfile
    runtime = dockerfile[dockerfile.index(" AS runtime") :]
    assert "rm -rf /usr/local/cuda-*/compat" in runtime


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_version_file(host: Host, text: str) -> None:
    host.set_driver(text)
    assert host.run()[0] == ""


@pytest.mark.parametrize(
    "text", ["NVRM version: something new\n", "580\n", "NVRM version: * 1.2.x .5 5. 1..2 -3.4\n", "\x00\xff\n"]
)
def test_a_version_file_that_cannot_be_read(host: Host, text: str) -> None:
    host.set_driver(text)
    path, said = host.run()
    assert path == ""
    assert "no driver version in" in said


def test_a_version_file_without_a_last_newline(host: Host) -> None:
    host.set_driver(PROPRIETARY.format(version="535.183.01").splitlines()[0])
    assert host.run()[0] == str(host.compat)


def test_the_folder_comes_before_what_was_there(host: Host) -> None:
    host.set_driver(PROPRIETARY.format(version="535.183.01"))
    assert host.run(LD_LIBRARY_PATH="/a:/b")[0] == f"{host.compat}:/a:/b"


def test_a_child_process_sees_it(host: Host) -> None:
    host.set_driver(PROPRIETARY.format(version="535.183.01"))
    assert host.run("env", LD_LIBRARY_PATH="/a")[0].count(f"LD_LIBRARY_PATH={host.compat}:/a\n") == 1


def test_it_leaves_nothing_else_behind(host: Host) -> None:
    host.set_driver(PROPRIETARY.format(version="535.183.01"))
    after, _ = host.run("set; command -v _byoc_older || true")
    assert "_byoc" not in after.replace("command -v _byoc_older", "")


@pytest.mark.parametrize("command", ["train", "serve"])
def test_the_commands_source_it_and_start_python(host: Host, tmp_path: Path, command: str) -> None:
    """The real scripts, with a byoc-vision that tells what it was given."""
    host.set_driver(PROPRIETARY.format(version="535.183.01"))
    program = tmp_path / "bin/byoc-vision"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$* $LD_LIBRARY_PATH"\n')
    program.chmod(0o755)
    script = subprocess.Popen(
        [CONTAINER / command, "--root", "/a b"],
        env={
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "BYOC_CUDA_COMPAT_DIR": str(host.compat),
            "BYOC_NVIDIA_VERSION_FILE": str(host.driver_file),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    said, _ = script.communicate()
    assert said == f"{command} --root /a b {host.compat}\n"
