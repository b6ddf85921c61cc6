"""Files of a hub that is healthy, wrong, slow or not there. The server stands for huggingface.co."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.model_hub import COMMIT, Hub, model_hub
from support.waiting import wait_until

from byoc_vision.models import hub_download
from byoc_vision.models.hub_download import HubFile, NotOnHubError, download

CONTENT = b"weights " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = HubFile("timm/net", "model.safetensors")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with model_hub(monkeypatch, tmp_path / "cache") as hub:
        hub.files = {"timm/net/model.safetensors": CONTENT, "timm/net/config.json": b"{}"}
        yield hub


def test_a_file_comes_over_a_redirect_and_is_kept(hub: Hub) -> None:
    taken = download(FILE)
    assert (taken.path.read_bytes(), taken.commit, taken.sha256) == (CONTENT, COMMIT, SHA256)
    assert hub.requests == ["HEAD /timm/net/resolve/main/model.safetensors", "GET /cdn/timm/net/model.safetensors"]
    assert download(FILE) == taken
    assert len(hub.requests) == 2, "it is in the cache"


def test_a_small_file_has_the_checksum_of_git(hub: Hub) -> None:
    assert download(HubFile("timm/net", "config.json")).path.read_bytes() == b"{}"
    hub.sent_instead = b"[]"
    with pytest.raises(NotOnHubError, match=r"the file has the checksum \w{40}, and the hub offers \w{40}"):
        download(HubFile("timm/net", "config.json", revision="v2"))


def test_a_file_whose_checksum_is_wrong_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.sent_instead = CONTENT[:-1] + b"!"
    with pytest.raises(NotOnHubError, match=rf"the file has the checksum \w{{64}}, and the hub offers {SHA256}"):
        download(FILE)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_file_that_is_longer_than_offered_ends_early(hub: Hub) -> None:
    hub.sent_instead = CONTENT * 2
    with pytest.raises(NotOnHubError, match="sends more than the 8000 bytes that it offers"):
        download(FILE)


def test_pins_are_compared_with_the_offer_and_with_the_cache(hub: Hub) -> None:
    assert download(HubFile("timm/net", "model.safetensors", COMMIT, SHA256)).sha256 == SHA256
    with pytest.raises(NotOnHubError, match=rf"the hub offers the commit {COMMIT}, and f{{40}} is pinned"):
        download(HubFile("timm/net", "model.safetensors", "f" * 40))
    with pytest.raises(NotOnHubError, match=rf"a file with the SHA-256 {SHA256}, and 0{{64}} is pinned"):
        download(HubFile("timm/net", "model.safetensors", COMMIT, "0" * 64))


@pytest.mark.parametrize("missing", ["X-Repo-Commit", "X-Linked-ETag"])
def test_a_hub_that_does_not_say_what_it_offers(hub: Hub, missing: str) -> None:
    hub.headers = {missing: None}
    with pytest.raises(NotOnHubError, match="does not name the file's commit and checksum"):
        download(FILE)


def test_a_file_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(NotOnHubError, match=r"timm/net/other\.safetensors: the hub answers 404 Not Found"):
        download(HubFile("timm/net", "other.safetensors"))
    assert len(hub.requests) == 1, "one attempt"


def test_a_redirect_to_a_file_of_this_machine_is_refused(hub: Hub) -> None:
    hub.redirect_to = "file:///etc/passwd"
    with pytest.raises(NotOnHubError, match="redirects to file:///etc/passwd, which is not HTTPS"):
        download(FILE)


def test_a_silent_hub_costs_one_attempt(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_download, "ATTEMPT_SECONDS", 0.3)
    hub.is_silent = True
    with pytest.raises(NotOnHubError, match="cannot be reached"):
        download(FILE)
    wait_until(lambda: hub.requests)  # it may come to the hub's thread after it was given up
    assert len(hub.requests) == 1


def test_a_download_that_stops_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = hub_download._ask(f"{hub.address}/timm/net/resolve/main/model.safetensors", FILE)
    monkeypatch.setattr(hub_download, "ATTEMPT_SECONDS", 0.3)
    monkeypatch.setattr(hub_download, "SLOWEST", 1e-6)  # a slow one has a test of its own
    hub.drips = True
    with pytest.raises(NotOnHubError, match=r"model\.safetensors was not downloaded: .*timed out"):
        hub_download._fetch(offer, FILE)


def test_a_download_that_is_too_slow_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 1_000_000, 1000))
    monkeypatch.setattr(hub_download.time, "monotonic", lambda: next(seconds))
    with pytest.raises(NotOnHubError, match="the download is slower than 1 MB/s"):
        hub_download._fetch(hub_download._ask(f"{hub.address}/timm/net/resolve/main/model.safetensors", FILE), FILE)


@pytest.mark.parametrize("variable", ["1", "true", "YES"])
def test_a_job_that_is_offline_asks_nothing(hub: Hub, variable: str) -> None:
    with pytest.raises(NotOnHubError, match="HF_HUB_OFFLINE is set"):
        download(FILE, {"HF_HUB_OFFLINE": variable})
    assert hub.requests == []


def test_a_container_without_a_network_asks_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_download.socket, "if_nameindex", lambda: [(1, "lo")])
    with pytest.raises(NotOnHubError, match="this container has no network"):
        download(FILE)
    assert hub.requests == []
