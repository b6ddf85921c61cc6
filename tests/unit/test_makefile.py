"""`make` lists the targets, and automation uses only them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# Without the variables by which a make that runs these tests speaks to its own children.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = ENVIRONMENT | environment
    return subprocess.run(["make", *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True)


def test_make_lists_every_target() -> None:
    listed = set(re.findall(r"^  make (\S+) +\S", make().stdout, re.MULTILINE))
    declared = re.findall(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == set(" ".join(declared).split())
    assert listed >= {"install", "lint", "fix", "test", "demo", "lock", "build", "push", "test-container"}


def test_test_all_runs_every_test_target() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (prerequisites,) = re.findall(r"^test-all: (.+) ##", makefile, re.MULTILINE)
    targets = set(re.findall(r"^(test[a-z-]*):", makefile, re.MULTILINE))
    assert targets - {"test-all", "test-container-fast", "test-gpu"} <= set(prerequisites.split())


def test_an_old_python_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    done = make("install", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_build_passes_what_it_is_given() -> None:
    said = make(
        "--dry-run", "build", "IMAGE=me/mine", "TAG=7", "BASE_IMAGE=debian:12", "PRETRAINED=resnet18 vgg16"
    ).stdout
    assert "--tag me/mine:7 --tag me/mine:latest" in said
    assert '--build-arg BASE_IMAGE="debian:12"' in said
    assert '--build-arg PRETRAINED="resnet18 vgg16"' in said
    assert '--build-arg MLFLOW="1"' in make("--dry-run", "build", "MLFLOW=1").stdout
    assert "MLFLOW" not in said
    assert '--build-arg COMPAT_IMAGE="debian:12"' in said, "the compat libraries are taken from the base image"
    assert '--build-arg COMPILER="1"' in make("--dry-run", "build", "COMPILER=1").stdout
    assert "COMPILER" not in said
    assert "--build-arg BASE_IMAGE" not in make("--dry-run", "build").stdout, "the Dockerfile has the default"


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ("https://me:hunter2@host.example/owner/name.git?token=x", "https://host.example/owner/name.git"),
        ("https://host.example/owner/name", "https://host.example/owner/name"),
        ("ssh://git@host.example:22/owner/name.git", "ssh://host.example:22/owner/name.git"),
        ("git@host.example:owner/name.git", "https://host.example/owner/name.git"),
        ("/home/me/name", ""),
        ("file:///home/me/name", ""),
    ],
)
def test_the_source_label_is_an_address_without_credentials(tmp_path: Path, origin: str, source: str) -> None:
    for command in (["init", "--quiet", tmp_path], ["-C", tmp_path, "remote", "add", "origin", origin]):
        subprocess.run(["git", *command], check=True)
    assert f'--build-arg SOURCE="{source}"' in make("--dry-run", "build", GIT_DIR=str(tmp_path / ".git")).stdout


def test_the_created_label_is_the_commits_time(tmp_path: Path) -> None:
    who = {f"GIT_{role}_{field}": "a@b" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
    when = {f"GIT_{role}_DATE": "2026-01-02T03:04:05+02:00" for role in ("AUTHOR", "COMMITTER")}
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    commit = ["git", "-C", tmp_path, "commit", "--quiet", "--allow-empty", "--message", "First"]
    subprocess.run(commit, env={**ENVIRONMENT, **who, **when}, check=True)
    said = make("--dry-run", "build", GIT_DIR=str(tmp_path / ".git")).stdout
    assert '--build-arg CREATED="2026-01-02T01:04:05Z"' in said


def test_codebuild_runs_make_alone() -> None:
    commands = re.findall(r"^ +- (.+)$", (REPOSITORY / "buildspec.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert commands
    assert all(command.startswith("make ") for command in commands)


@pytest.mark.parametrize(
    ("environment", "revision"),
    [({"CODEBUILD_RESOLVED_SOURCE_VERSION": "0a1b2c"}, "0a1b2c"), ({}, "build-7")],
)
def test_codebuild_knows_the_tag_of_any_source(tmp_path: Path, environment: dict[str, str], revision: str) -> None:
    """A source in S3 may have no version. A `make` that prints its arguments stands for the real one."""
    (tmp_path / "make").write_text('#!/bin/sh\nprintf "%s|" "$@"; echo\n')
    (tmp_path / "make").chmod(0o755)
    commands = re.findall(r"^ +- (.+)$", (REPOSITORY / "buildspec.yml").read_text(encoding="utf-8"), re.MULTILINE)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CODEBUILD_BUILD_NUMBER": "7"}
    said = subprocess.run(
        ["sh", "-e", "-c", "\n".join(commands)], env=path | environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said == ["install|", f"check-tag|REVISION={revision}|", "lint|test|", f"build|push|REVISION={revision}|"]


def test_a_tag_has_only_the_characters_that_a_tag_may_have() -> None:
    """Versions of files in S3 have others."""
    said = make("--dry-run", "build", "REVISION=3sL4kqtJlcpXroDTDmJ+rmSp").stdout
    assert re.search(r"--tag byoc-vision:[0-9.]+-3sL4kqtJlcpXroDTDmJ-rmSp ", said)


def test_the_dockerfile_finds_what_it_copies() -> None:
    """.dockerignore lists what may enter the build; every source of a COPY must be among it, and exist."""
    allowed = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    dockerfile = (REPOSITORY / "docker/Dockerfile").read_text(encoding="utf-8")
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for source in sources.split():
            assert (REPOSITORY / source).exists(), source
            pattern = "docker/*.lock" if source.endswith(".lock") else source
            assert f"!{pattern}" in allowed, source
