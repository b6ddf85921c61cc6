"""`make push`, against a real registry and, over HTTP, an AWS that moto plays. A tiny image stands for ours."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from support.containers import REPOSITORY, Docker
from support.moto_server import start_moto
from support.servers import free_port
from support.waiting import wait_until

REGION = "eu-west-1"
ACCOUNT = "123456789012"  # moto's, whose ECR gives out this password
PASSWORD = f"{ACCOUNT}-auth-token"
HTPASSWD = "AWS:$2b$04$hza4cdpB0JfLgMeeDXAKYe0r2BA2cBER/PDu8WiRea2y3T4hQSEZW\n"
FRAMING = ("connection", "content-length", "transfer-encoding")  # headers of one hop
REGISTRY_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The endpoint of an empty AWS."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with start_moto() as address:
        yield address


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of an empty registry that asks for moto's password."""
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not installed; Debian and Ubuntu have it as docker-registry"
    port = free_port()
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "htpasswd").write_text(HTPASSWD)
    (folder / "config.yml").write_text(REGISTRY_CONFIG.format(folder=folder, port=port))
    process = subprocess.Popen([program, "serve", folder / "config.yml"])
    address = f"127.0.0.1:{port}"
    wait_until(lambda: answers(address), lambda: f"no registry answers at {address}")
    yield address
    process.terminate()
    process.wait()


def answers(address: str) -> bool:
    try:
        requests.get(f"http://{address}/v2/", timeout=5)
    except requests.RequestException:
        return False
    return True


def manifest(address: str, name: str, tag: str) -> requests.Response:
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    return requests.get(
        f"http://{address}/v2/{name}/manifests/{tag}", headers=accept, auth=("AWS", PASSWORD), timeout=10
    )


@dataclass(frozen=True)
class Pusher:
    docker: Docker
    aws: str
    config: Path

    def make(self, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["make", target, f"DOCKER={self.docker.client}", *(f"{name}={value}" for name, value in variables.items())],
            cwd=REPOSITORY,
            env={**os.environ, "AWS_ENDPOINT_URL": self.aws, "DOCKER_CONFIG": str(self.config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(done.stdout)
        return done


@pytest.fixture
def pusher(docker: Docker, aws: str, tmp_path: Path) -> Pusher:
    return Pusher(docker, aws, tmp_path / "docker-config")


@pytest.fixture
def tiny_image(docker: Docker, tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Make an image of one small file: tiny_image(name, content) is its id."""
    made: set[str] = set()

    def make(name: str, content: str) -> str:
        archive = tmp_path / "image.tar"
        with tarfile.open(archive, "w") as tar:
            member = tarfile.TarInfo("content")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
        image_id = docker.output("import", archive, name).splitlines()[-1]
        made.add(image_id)
        return image_id

    yield make
    for image_id in made:
        docker.run("rmi", "--force", image_id)


def test_the_first_push_makes_the_repository(
    pusher: Pusher, registry: str, aws: str, tiny_image: Callable[[str, str], str]
) -> None:
    image_id = tiny_image("byoc-push-test:1", "first")
    done = pusher.make("push", IMAGE="byoc-push-test", TAG="1", AWS_REGION=REGION, REGISTRY=registry)
    assert done.returncode == 0
    assert manifest(registry, "byoc-push-test", "1").json()["config"]["digest"] == image_id
    ecr = boto3.client("ecr", region_name=REGION, endpoint_url=aws)
    (repository,) = ecr.describe_repositories()["repositories"]
    assert (repository["registryId"], repository["repositoryName"]) == (ACCOUNT, "byoc-push-test")
    assert repository["imageScanningConfiguration"]["scanOnPush"]


@pytest.mark.slow
def test_a_tag_is_not_overwritten_silently(
    pusher: Pusher, registry: str, tiny_image: Callable[[str, str], str]
) -> None:
    where = {"IMAGE": "byoc-push-test", "TAG": "1", "AWS_REGION": REGION, "REGISTRY": registry}
    first = tiny_image("byoc-push-test:1", "first")
    assert pusher.make("push", **where).returncode == 0

    again = pusher.make("push", **where)
    assert again.returncode == 0
    assert "is already this image" in again.stdout

    second = tiny_image("byoc-push-test:1", "second")
    refused = pusher.make("push", **where)
    assert refused.returncode != 0
    assert "FORCE=1" in refused.stdout
    assert manifest(registry, "byoc-push-test", "1").json()["config"]["digest"] == first

    assert pusher.make("push", **where, FORCE="1").returncode == 0
    assert manifest(registry, "byoc-push-test", "1").json()["config"]["digest"] == second


@pytest.mark.slow
def test_a_repository_that_keeps_its_tags_refuses_force(
    pusher: Pusher, aws: str, registry: str, tiny_image: Callable[[str, str], str]
) -> None:
    ecr = boto3.client("ecr", region_name=REGION, endpoint_url=aws)
    ecr.create_repository(repositoryName="byoc-push-test", imageTagMutability="IMMUTABLE")
    where = {"IMAGE": "byoc-push-test", "TAG": "1", "AWS_REGION": REGION, "REGISTRY": registry}
    first = tiny_image("byoc-push-test:1", "first")
    assert pusher.make("push", **where).returncode == 0

    tiny_image("byoc-push-test:1", "second")
    refused = pusher.make("push", **where, FORCE="1")
    assert refused.returncode != 0
    assert "the repository keeps its tags: give another TAG=" in refused.stdout
    assert manifest(registry, "byoc-push-test", "1").json()["config"]["digest"] == first


@pytest.mark.slow
@pytest.mark.parametrize(("given", "account"), [({}, ACCOUNT), ({"AWS_ACCOUNT_ID": "210987654321"}, "210987654321")])
def test_the_registry_is_the_accounts_own(aws: str, tmp_path: Path, given: dict[str, str], account: str) -> None:
    """`echo` stands for the docker client, so that nothing goes to the real ECR."""
    done = Pusher(Docker("echo"), aws, tmp_path).make("login", AWS_REGION=REGION, **given)
    assert done.returncode == 0
    assert f"login --username AWS --password-stdin {account}.dkr.ecr.{REGION}.amazonaws.com\n" in done.stdout


@pytest.mark.parametrize("kept", [False, True])
def test_an_existing_tag_is_seen_before_the_build(aws: str, registry: str, tmp_path: Path, kept: bool) -> None:
    """`echo` stands for the docker client: nothing is built, and nothing is pushed."""
    pusher = Pusher(Docker("echo"), aws, tmp_path)
    where = {"IMAGE": "byoc-push-test", "TAG": "1", "AWS_REGION": REGION, "REGISTRY": registry}
    first = pusher.make("check-tag", **where)
    assert first.returncode == 0
    assert "byoc-push-test:1 can be pushed" in first.stdout
    ecr = boto3.client("ecr", region_name=REGION, endpoint_url=aws)
    assert ecr.describe_repositories()["repositories"] == [], "a check makes nothing"
    ecr.create_repository(repositoryName="byoc-push-test", imageTagMutability="IMMUTABLE" if kept else "MUTABLE")
    upload_manifest(registry, "byoc-push-test", "1")
    refused = pusher.make("check-tag", **where)
    assert refused.returncode != 0
    assert "byoc-push-test:1 exists already" in refused.stdout
    assert pusher.make("check-tag", **{**where, "TAG": "2"}).returncode == 0
    assert (pusher.make("check-tag", **where, FORCE="1").returncode == 0) is not kept


def upload_manifest(address: str, name: str, tag: str) -> None:
    """An image without layers."""
    config, login = b"{}", ("AWS", PASSWORD)
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    started = requests.post(f"http://{address}/v2/{name}/blobs/uploads/", auth=login, timeout=10)
    place = started.headers["Location"]
    requests.put(f"{place}&digest={digest}", config, auth=login, timeout=10).raise_for_status()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    described = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest}
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": []}
    requests.put(
        f"http://{address}/v2/{name}/manifests/{tag}",
        json.dumps(manifest),
        headers={"Content-Type": kind},
        auth=login,
        timeout=10,
    ).raise_for_status()


@pytest.mark.slow
def test_login_alone(pusher: Pusher, registry: str) -> None:
    assert pusher.make("login", AWS_REGION=REGION, REGISTRY=registry).returncode == 0
    assert registry in (pusher.config / "config.json").read_text()


@pytest.mark.slow
def test_a_missing_image_or_region_is_named(pusher: Pusher, registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = pusher.make("push", IMAGE="byoc-push-test", TAG="no-such", AWS_REGION=REGION, REGISTRY=registry)
    assert missing.returncode != 0
    assert "make build" in missing.stdout

    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    nowhere = pusher.make("push", IMAGE="byoc-push-test", TAG="1", REGISTRY=registry)
    assert nowhere.returncode != 0
    assert "AWS_REGION=" in nowhere.stdout


@pytest.fixture
def unsteady_registry(registry: str) -> Iterator[str]:
    """The registry behind a front that fails the first manifest that is put."""
    failures = iter([503])

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or read_chunks(self)
            is_manifest = self.command == "PUT" and "/manifests/" in self.path
            if status := is_manifest and next(failures, None):
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            # The registry's own addresses in its responses lead back here, because this Host is sent to it.
            headers = {
                k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "content-length")
            }
            answer = requests.request(
                self.command, f"http://{registry}{self.path}", headers=headers, data=body, timeout=30
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in FRAMING:
                    self.send_header(name, value)
            length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(answer.content))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    for method in ("GET", "HEAD", "PUT", "POST", "PATCH"):
        setattr(Front, f"do_{method}", Front.relay)
    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def read_chunks(request: BaseHTTPRequestHandler) -> bytes:
    """A body in chunked encoding, as docker uploads layers."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return b""
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


@pytest.mark.slow
def test_a_failed_push_is_tried_again(
    pusher: Pusher, unsteady_registry: str, registry: str, tiny_image: Callable[[str, str], str]
) -> None:
    image_id = tiny_image("byoc-push-test:1", "first")
    done = pusher.make("push", IMAGE="byoc-push-test", TAG="1", AWS_REGION=REGION, REGISTRY=unsteady_registry)
    assert done.returncode == 0
    assert "attempt 2 of 3" in done.stdout
    assert manifest(registry, "byoc-push-test", "1").json()["config"]["digest"] == image_id
