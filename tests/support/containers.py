"""The docker client, containers, endpoints and job folders, as the container tests use them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
from support.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
# The label by which Docker Compose, and so the SDKs' local mode, says where its files are.
COMPOSE_FOLDER = "com.docker.compose.project.working_dir"
# Docker's options for a multi-model server that can write to /tmp only.
MULTI_MODEL = ("--read-only", "--tmpfs", "/tmp", "--shm-size", "64m", "--env", "SAGEMAKER_MULTI_MODEL=true")


@dataclass(frozen=True)
class Docker:
    """The docker client. Every command's output is captured, so that a failing test shows it."""

    client: str

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.client, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(f"$ docker {' '.join(map(str, arguments))}\n{done.stdout}")
        assert not check or done.returncode == 0, f"docker ended with status {done.returncode}"
        return done

    def output(self, *arguments: str | Path) -> str:
        return self.run(*arguments).stdout.strip()

    def composed(self, folder: Path, *options: str) -> list[str]:
        """The containers that an SDK in local mode started from files below a folder; other tests may run others."""
        shown = ("--format", f'{{{{.ID}}}} {{{{.Label "{COMPOSE_FOLDER}"}}}}', "--filter", f"label={COMPOSE_FOLDER}")
        lines = [line.split(maxsplit=1) for line in self.output("ps", *options, *shown).splitlines()]
        return [identifier for identifier, where in lines if Path(where).is_relative_to(folder)]

    def remove_composed(self, folder: Path) -> None:
        """Those containers, also the ones that have ended."""
        for container in self.composed(folder, "--all"):
            self.run("rm", "--force", container)


@dataclass(frozen=True)
class Container:
    """A container that runs in the background."""

    docker: Docker
    id: str

    @property
    def logs(self) -> str:
        return self.docker.output("logs", self.id)

    def signal(self, name: str) -> None:
        self.docker.run("kill", "--signal", name, self.id)

    @property
    def is_running(self) -> bool:
        return self.docker.output("inspect", "--format", "{{.State.Running}}", self.id) == "true"

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Fails with the logs if the container ends before the condition holds."""
        wait_until(condition, lambda: self.logs, lambda: self.is_running, limit=240)

    def wait_for_epoch(self, epoch: int) -> None:
        """Returns when a training job's log has the line of an epoch."""
        self.wait_until(lambda: re.search(rf"epoch={epoch} .*train:loss=", self.logs))

    def stop(self, seconds: int) -> int:
        """Asks it to end by SIGTERM, and kills it after so many seconds, as SageMaker does; its exit status."""
        self.docker.run("stop", "--time", str(seconds), self.id)
        return self.exit_status()

    def exit_status(self) -> int:
        """Waits for the end."""
        return int(self.docker.output("wait", self.id))

    def address(self, port: int = 8080) -> str:
        """Where a published port answers."""
        return self.docker.output("port", self.id, f"{port}/tcp").splitlines()[0]


@dataclass(frozen=True)
class Endpoint:
    """A container that serves a model."""

    container: Container
    url: str

    def ask(self, image: bytes, accept: str, content_type: str = "image/jpeg") -> requests.Response:
        headers = {"Content-Type": content_type, "Accept": accept}
        return requests.post(f"{self.url}/invocations", data=image, headers=headers, timeout=60)

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            try:
                return requests.get(f"{self.url}/ping", timeout=5).status_code == 200
            except requests.RequestException:  # nothing accepts it, or nothing answers it yet
                return False

        self.container.wait_until(is_ready)


@dataclass(frozen=True)
class Job:
    """A folder laid out as /opt/ml, made by local_test/make_test_dir.py."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def failure(self) -> str:
        return (self.folder / "output/failure").read_text(encoding="utf-8")

    @property
    def metrics(self) -> dict[str, float]:
        return dict(json.loads((self.model / "model.json").read_text(encoding="utf-8"))["metrics"])

    @property
    def options(self) -> tuple[str, ...]:
        """Docker's, that put the folder where SageMaker has it, and name the host as its files do."""
        return ("--hostname", "algo-1", "--volume", f"{self.folder}:/opt/ml")

    @classmethod
    def make(cls, folder: Path, channels: Mapping[str, Path], hyperparameters: Mapping[str, object]) -> Job:
        flags = [part for name, source in channels.items() for part in ("--channel", f"{name}={source}")]
        values = [f"{name}={value}" for name, value in hyperparameters.items()]
        maker = REPOSITORY / "local_test/make_test_dir.py"
        subprocess.run(["python3", maker, folder, *flags, *values], check=True)
        return cls(folder)


def some_files(source: Path, target: Path, count: int) -> None:
    """A folder of the first files of another, by link."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:count]:
        (target / path.name).symlink_to(path.resolve())
