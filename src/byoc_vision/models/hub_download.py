"""One file of a Hugging Face repository: one attempt, its checksum compared, kept in huggingface_hub's cache.

The hub names the commit and the checksum of a file in the headers of its answer: `X-Repo-Commit`, `X-Linked-ETag`
(SHA-256 of a large file) or `ETag` (git's SHA-1 of a small one). A file without a pinned commit is taken from the
commit that the hub names, and what was taken is recorded.
Source: `HfFileMetadata` in huggingface_hub.file_download.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from byoc_vision.checksums import sha256

ATTEMPT_SECONDS = 10.0  # until the hub answers, and for each pause of a download
SLOWEST = 1e6  # bytes per second, after the first seconds
OFFLINE = "HF_HUB_OFFLINE"  # huggingface_hub's own variable
_BLOCK = 1 << 20
_COMMIT, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_REDIRECTS = (301, 302, 303, 307, 308)

T = TypeVar("T")


class NotOnHubError(Exception):
    """The hub gave no weights; the text says why."""


@dataclass(frozen=True)
class HubFile:
    """revision: a commit, or a branch; None for the main branch. sha256: that the file must have; None if not known."""

    repository: str
    name: str
    revision: str | None = None
    sha256: str | None = None


class Downloaded(NamedTuple):
    """A file in the cache, the commit that it is from, and its SHA-256."""

    path: Path
    commit: str
    sha256: str


class _Offer(NamedTuple):
    """What the hub says of a file. digest: SHA-256, or git's SHA-1."""

    address: str
    commit: str
    digest: str
    size: int | None


def has_network() -> bool:
    """Whether there is an interface besides the loopback: a container in network isolation may have none."""
    try:
        return any(name != "lo" for _, name in socket.if_nameindex())
    except OSError:
        return True


def download(file: HubFile, environment: Mapping[str, str] = os.environ) -> Downloaded:
    """From the cache, else from the hub.

    Raises:
        NotOnHubError: the hub does not have the file, cannot be reached, is too slow, or its file has another checksum.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(file.repository, file.name, revision=file.revision)
    if isinstance(cached, str):
        path = Path(cached)
        found = Downloaded(path, path.relative_to(_folder(file)).parts[1], sha256(path))
        if file.sha256 in (None, found.sha256):
            return found
    if environment.get(OFFLINE, "").lower() in ("1", "true", "yes", "on"):
        raise NotOnHubError(f"{OFFLINE} is set")
    if not has_network():
        raise NotOnHubError("this container has no network")
    address = f"{constants.ENDPOINT}/{file.repository}/resolve/{quote(file.revision or 'main', safe='')}/{file.name}"
    offer = _within(ATTEMPT_SECONDS, lambda: _ask(address, file), f"{urlsplit(address).hostname} cannot be reached")
    return _fetch(offer, file)


def _within(seconds: float, work: Callable[[], T], problem: str) -> T:
    """What `work` returns; it also ends the wait for a name server, which has no limit of its own."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome[:] = [work(), None]
        except Exception as error:
            outcome[:] = [None, error]

    thread = threading.Thread(target=run, name="hub", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise NotOnHubError(f"{problem}: no answer within {seconds:.0f} s")
    result, error = outcome
    if isinstance(error, OSError | HTTPException | ValueError):
        reason = getattr(error, "reason", None) or error
        raise NotOnHubError(f"{problem}: {reason}") from error
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _ask(address: str, file: HubFile) -> _Offer:
    """Raises NotOnHubError if the hub does not have the file, or does not say which one it has."""
    request = urllib.request.Request(address, method="HEAD", headers={"Accept-Encoding": "identity"})
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=ATTEMPT_SECONDS) as answer:
            return _offer(address, answer.headers, file)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _REDIRECTS:
                return _offer(address, error.headers, file)
            raise NotOnHubError(f"{file.repository}/{file.name}: the hub answers {error.code} {error.reason}") from None


def _offer(address: str, headers: Message, file: HubFile) -> _Offer:
    commit = headers.get("X-Repo-Commit", "")
    digest = (headers.get("X-Linked-ETag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    where = f"{file.repository}/{file.name}"
    if not _COMMIT.fullmatch(commit) or not (_SHA256.fullmatch(digest) or _COMMIT.fullmatch(digest)):
        raise NotOnHubError(f"{where}: the hub does not name the file's commit and checksum")
    if file.revision and _COMMIT.fullmatch(file.revision) and commit != file.revision:
        raise NotOnHubError(f"{where}: the hub offers the commit {commit}, and {file.revision} is pinned")
    if file.sha256 and digest != file.sha256:
        raise NotOnHubError(f"{where}: the hub offers a file with the SHA-256 {digest}, and {file.sha256} is pinned")
    target = urljoin(address, headers.get("Location", address))
    _check_scheme(address, target)
    return _Offer(target, commit, digest, int(size) if size.isdecimal() else None)


def _fetch(offer: _Offer, file: HubFile) -> Downloaded:
    """Write the file into the cache once its checksum is known to be right."""
    folder = _folder(file)
    path = folder / "snapshots" / offer.commit / file.name
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            digest = _write(offer, part, file)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        reference = folder / "refs" / (file.revision or "main")
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(offer.commit, encoding="utf-8")
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise NotOnHubError(f"{file.repository}/{file.name} was not downloaded: {reason}") from error
    return Downloaded(path, offer.commit, digest)


def _write(offer: _Offer, path: Path, file: HubFile) -> str:
    """Write what the hub sends; returns its SHA-256. Raises NotOnHubError if it is not the file that was offered."""
    where = f"{file.repository}/{file.name}"
    content, begun, size = hashlib.sha256(), time.monotonic(), 0
    sha1 = hashlib.sha1(f"blob {offer.size}\0".encode(), usedforsecurity=False)
    opener = urllib.request.build_opener(_SafeRedirect)
    with opener.open(offer.address, timeout=ATTEMPT_SECONDS) as answer, path.open("wb") as output:
        while block := answer.read1(_BLOCK):
            size += len(block)
            if offer.size is not None and size > offer.size:
                raise NotOnHubError(f"{where}: the hub sends more than the {offer.size} bytes that it offers")
            if time.monotonic() - begun > ATTEMPT_SECONDS + size / SLOWEST:
                raise NotOnHubError(f"{where}: the download is slower than {SLOWEST / 1e6:.0f} MB/s")
            content.update(block)
            sha1.update(block)
            output.write(block)
    found = content.hexdigest() if _SHA256.fullmatch(offer.digest) else sha1.hexdigest()
    if found != offer.digest:
        raise NotOnHubError(f"{where}: the file has the checksum {found}, and the hub offers {offer.digest}")
    return content.hexdigest()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The answer that redirects has the headers, and the one after it does not."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        _check_scheme(req.full_url, newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(address: str, target: str) -> None:
    """Raises NotOnHubError for a redirect from HTTPS to HTTP, or to a file."""
    if urlsplit(target).scheme not in {"https", urlsplit(address).scheme}:
        raise NotOnHubError(f"{urlsplit(address).hostname} redirects to {target}, which is not HTTPS")


def _folder(file: HubFile) -> Path:
    """As huggingface_hub names it, so that both find each other's files."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{file.repository.replace('/', '--')}"
