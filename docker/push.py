"""Push the image to Amazon ECR: log in, create the repository if it is missing, tag, push.

`make login`, `make check-tag` and `make push` run it. Credentials come from boto3's usual chain. AWS_ENDPOINT_URL
changes the AWS endpoint, --registry the registry's address.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError

PUSH_ATTEMPTS = 3
MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


class PushError(Exception):
    """An error that the user can fix."""


@dataclass(frozen=True)
class Registry:
    """The registry's address and the credentials for it."""

    address: str
    user: str
    password: str

    @property
    def url(self) -> str:
        """Docker uses plain HTTP for a registry on this machine, and HTTPS for any other."""
        local = self.address.split(":")[0] in ("localhost", "127.0.0.1")
        return f"{'http' if local else 'https'}://{self.address}"


def main() -> int:
    arguments = parse_arguments()
    try:
        session = boto3.Session(region_name=arguments.region or None)
        if session.region_name is None:
            raise PushError("no region: give AWS_REGION=eu-west-1, or set one in the AWS profile")
        account = arguments.account or session.client("sts").get_caller_identity()["Account"]
        registry = log_in(session, account, arguments.registry, arguments.docker)
        if arguments.command == "check-tag":
            check_tag(session, account, registry, arguments)
        if arguments.command == "push":
            kept = ensure_repository(session, account, arguments.image)
            push(registry, arguments, tags_are_kept=kept)
    except (PushError, BotoCoreError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=("login", "check-tag", "push"))
    parser.add_argument("--image", default="byoc-vision", help="the local image, and the repository's name")
    parser.add_argument("--tag", default="latest")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    parser.add_argument("--region", default=region, help="default: AWS_REGION, else the AWS profile's")
    parser.add_argument("--account", help="the registry's account; default: the caller's")
    parser.add_argument("--registry", help="the registry's address; default: the account's ECR registry")
    parser.add_argument("--force", action="store_true", help="overwrite a tag that holds another image")
    parser.add_argument("--docker", default="docker", help="the docker client")
    return parser.parse_args()


def log_in(session: boto3.Session, account: str, address: str | None, docker: str) -> Registry:
    """Log the docker client in with a token of 12 hours."""
    grant = session.client("ecr").get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(grant["authorizationToken"]).decode().partition(":")
    # The caller's own registry, https://ACCOUNT.dkr.ecr.REGION.SUFFIX, contains the suffix of this AWS partition.
    own_registry = grant["proxyEndpoint"].partition("://")[2]
    registry = Registry(address or f"{account}.{own_registry.partition('.')[2]}", user, password)
    run(docker, "login", "--username", user, "--password-stdin", registry.address, stdin=password)
    return registry


def ensure_repository(session: boto3.Session, account: str, name: str) -> bool:
    """Create the repository if it is missing. Returns whether its tags are immutable.

    A repository created here scans pushed images for known vulnerabilities, and its tags can be overwritten (FORCE=1);
    the tags of the repository in examples/on_sagemaker/cloudformation.yml are immutable.
    """
    kept = keeps_tags(session, account, name)
    if kept is None:
        scan = {"scanOnPush": True}
        ecr = session.client("ecr")
        ecr.create_repository(registryId=account, repositoryName=name, imageScanningConfiguration=scan)
        print(f"created the repository {name} in {session.region_name}")
    return bool(kept)


def keeps_tags(session: boto3.Session, account: str, name: str) -> bool | None:
    """Whether a repository's tags are immutable; None if the repository is missing."""
    ecr = session.client("ecr")
    try:
        found = ecr.describe_repositories(registryId=account, repositoryNames=[name])["repositories"][0]
    except ecr.exceptions.RepositoryNotFoundException:
        return None
    return bool(found.get("imageTagMutability") == "IMMUTABLE")


def check_tag(session: boto3.Session, account: str, registry: Registry, arguments: argparse.Namespace) -> None:
    """Raises PushError if a push would fail because the tag exists. Call it before a build, which takes long."""
    remote = f"{registry.address}/{arguments.image}:{arguments.tag}"
    kept = keeps_tags(session, account, arguments.image)
    if kept is not None and remote_image_id(registry, arguments.image, arguments.tag) is not None:
        if kept:
            raise PushError(f"{remote} exists already, and the repository keeps its tags: give another TAG=…")
        if not arguments.force:
            raise PushError(f"{remote} exists already: give another TAG=…, or FORCE=1 to overwrite it")
    print(f"{remote} can be pushed")


def push(registry: Registry, arguments: argparse.Namespace, *, tags_are_kept: bool) -> None:
    """Push the image under its tag. A tag of another image is overwritten only with --force."""
    docker, local = arguments.docker, f"{arguments.image}:{arguments.tag}"
    remote = f"{registry.address}/{local}"
    try:
        image_id = run(docker, "image", "inspect", "--format", "{{.Id}}", local, quiet=True).strip()
    except PushError as error:
        raise PushError(f"there is no image {local}: `make build` with the same IMAGE and TAG makes it") from error
    present = remote_image_id(registry, arguments.image, arguments.tag)
    if present == image_id:
        print(f"{remote} is already this image")
        return
    if present is not None and not arguments.force:
        raise PushError(f"{remote} is already another image: give another TAG=…, or FORCE=1 to overwrite it")
    if present is not None and tags_are_kept:
        raise PushError(f"{remote} is already another image, and the repository keeps its tags: give another TAG=…")
    run(docker, "tag", local, remote)
    for attempt in range(1, PUSH_ATTEMPTS + 1):
        try:
            run(docker, "push", remote)
        except PushError:
            if attempt == PUSH_ATTEMPTS:
                raise
            print(f"the push failed; attempt {attempt + 1} of {PUSH_ATTEMPTS}", file=sys.stderr)
            time.sleep(2**attempt)
        else:
            print(f"pushed {remote}")
            return


def remote_image_id(registry: Registry, name: str, tag: str) -> str | None:
    """The id of the image with a tag; None if the tag does not exist.

    https://distribution.github.io/distribution/spec/api/#pulling-an-image-manifest
    """
    credentials = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
    request = urllib.request.Request(
        f"{registry.url}/v2/{name}/manifests/{tag}",
        headers={"Accept": ", ".join(MANIFEST_TYPES), "Authorization": f"Basic {credentials}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            manifest = json.load(response)
            # An index has no configuration; its id is the digest, as in Docker's containerd store.
            return str(manifest.get("config", {}).get("digest") or response.headers["Docker-Content-Digest"])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise PushError(f"{request.full_url} returned {error.code} {error.reason}") from error
    except OSError as error:
        raise PushError(f"{request.full_url} cannot be reached: {error}") from error


def run(*command: str, stdin: str | None = None, quiet: bool = False) -> str:
    """Run a command. quiet: capture its output and return it, instead of printing it."""
    try:
        done = subprocess.run(
            command, input=stdin, text=True, check=True, stdout=subprocess.PIPE if quiet else None, stderr=None
        )
    except FileNotFoundError as error:
        raise PushError(f"{command[0]} is not installed; install it, or set DOCKER=… to the docker client") from error
    except subprocess.CalledProcessError as error:
        raise PushError(f"`{' '.join(command)}` failed with status {error.returncode}") from error
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
